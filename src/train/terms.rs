//! What must be the same for a run to go on where it stopped.

use std::collections::BTreeMap;

use super::options::TrainerOptions;
use super::schedule::BonusWeight;
use crate::model::Document;

/// Option and value, as sentences name them.
pub fn terms(
    document: &Document,
    options: &TrainerOptions,
    samples: usize,
    validation: Option<usize>,
) -> BTreeMap<String, String> {
    let mut terms = BTreeMap::new();
    let mut add = |name: &str, value: String| terms.insert(name.to_owned(), value);
    let step = &options.step;
    add("model", format!("{:016x}", fingerprint(&document.to_bytes())));
    add("samples", samples.to_string());
    add("validation samples", validation.map_or("none".to_owned(), |samples| samples.to_string()));
    add("loss", json(&step.loss));
    add("optimizer", json(&step.optimizer));
    add("clip-norm", format!("{:?}", step.clip_norm));
    add("freeze", format!("{:?}", step.freeze));
    add("train-only", format!("{:?}", step.train_only));
    add("freeze-batch-norm", step.freeze_batch_norm.to_string());
    add("precision", step.precision.to_string());
    add("batch-size", options.batch.to_string());
    add("seed", options.seed.to_string());
    add("learning rate", json(&options.learning_rate));
    add("bonus schedule", format!("{} {}", options.deferred_bonus, json(&options.bonus_growth)));
    add("class-weights", json(&options.class_weights));
    add("augmentation", json(&options.augmentation));
    add("drop-last", options.drop_last.to_string());
    add("best", json(&options.best));
    let bonus = BonusWeight { weight: 1.0, deferred: options.deferred_bonus, growth: options.bonus_growth };
    if options.learning_rate.depends_on_length() || bonus.depends_on_length() {
        add("epochs", options.epochs.to_string());
    }
    terms
}

/// What differs, a clause: "--batch-size was 64 and is 32 now"; None where nothing does.
pub fn differences(then: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Option<String> {
    let names: std::collections::BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    let told = names.into_iter().filter(|name| then.get(*name) != now.get(*name)).map(|name| {
        match (name.as_str(), then.get(name), now.get(name)) {
            ("model", ..) => "the model is another one".to_owned(),
            (_, Some(then), Some(now)) => format!("{name} was {then} and is {now} now"),
            _ => format!("{name} mattered in one of the two only"),
        }
    });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| told.join("; "))
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// FNV-1a, 64 bits: the same in every version.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named() {
        let of = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let then: BTreeMap<_, _> = of(&[("seed", "1"), ("model", "a"), ("samples", "9")]);
        assert_eq!(differences(&then, &then), None);
        let now = of(&[("seed", "2"), ("model", "b"), ("samples", "9"), ("epochs", "3")]);
        let expected = "epochs mattered in one of the two only; the model is another one; seed was 1 and is 2 now";
        assert_eq!(differences(&then, &now).unwrap(), expected);
    }

    #[test]
    fn the_published_hash() {
        assert_eq!(fingerprint(b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
