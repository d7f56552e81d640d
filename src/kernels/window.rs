//! Where a window of two spatial axes lies on its input.

use super::error::KernelError;

/// Strides, padding and dilations of a convolution or pooling over \[N, C, H, W\].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Steps between windows.
    pub strides: [usize; 2],
    /// Above, left, below, right.
    pub pads: [usize; 4],
    /// Steps between the elements of a window.
    pub dilations: [usize; 2],
}

impl Window {
    /// From the attributes of a node.
    ///
    /// # Errors
    /// Strides or dilations below 1, negative padding.
    pub(crate) fn new(strides: [i64; 2], pads: [i64; 4], dilations: [i64; 2]) -> Result<Window, KernelError> {
        Ok(Window {
            strides: at_least("strides", strides, 1)?,
            pads: at_least("pads", pads, 0)?,
            dilations: at_least("dilations", dilations, 1)?,
        })
    }

    /// From the first to behind the last element of a window of these sizes.
    pub(super) fn extent(&self, kernel: [usize; 2]) -> [usize; 2] {
        [0, 1].map(|i| kernel[i].saturating_sub(1) * self.dilations[i] + 1)
    }

    /// How many windows fit, rounded down.
    pub(super) fn count(&self, input: [usize; 2], kernel: [usize; 2]) -> [usize; 2] {
        let extent = self.extent(kernel);
        [0, 1].map(|i| {
            let padded = input[i] + self.pads[i] + self.pads[i + 2];
            padded.checked_sub(extent[i]).map_or(0, |room| room / self.strides[i] + 1)
        })
    }
}

fn at_least<const N: usize>(name: &str, values: [i64; N], least: i64) -> Result<[usize; N], KernelError> {
    // no tensor in memory is longer, and sums of a few of them do not overflow
    let most = i64::from(i32::MAX);
    if values.iter().all(|value| (least..=most).contains(value)) {
        return Ok(values.map(|value| value as usize));
    }
    Err(KernelError::new(format!("{name} is {values:?}, but its numbers must be {least} or more")))
}
