//! BatchNormalization: `spatial` is gone since version 9; since 14 an attribute says whether it trains, before the number
//! of outputs did (Y, mean, var, saved_mean, saved_var).

use super::site::{Outcome, Raised, Site};

/// Raises it.
pub(super) fn raise(site: &mut Site<'_, '_>) -> Outcome {
    let loses_spatial = site.crosses(9) && site.node.attr("spatial").is_some();
    let gains_mode = site.crosses(14) && (1..site.node.output.len()).any(|i| site.node.output_at(i).is_some());
    if loses_spatial {
        let per_channel = site.node.attr_int("spatial") != Some(0) || site.dims().is_some_and(|dims| dims.len() == 2);
        if !per_channel {
            return Err("with spatial = 0 it normalises each element by itself, which later versions do not".to_owned());
        }
        site.remove("spatial");
    }
    if gains_mode {
        if site.is_read(3) || site.is_read(4) {
            return Err("its saved mean or variance is used, which later versions do not give".to_owned());
        }
        site.node.output.truncate(3);
        site.set_int("training_mode", 1);
    }
    if loses_spatial || gains_mode { site.done() } else { Ok(Raised::Same) }
}
