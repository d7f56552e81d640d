//! Labels against the classes of a model.

use super::TrainError;
use super::options::ClassWeights;

/// Refuses labels that are no class; `what` names the data.
pub fn check_labels(
    what: &str,
    labels: &[i64],
    classes: Option<usize>,
    ignored: Option<i64>,
) -> Result<(), TrainError> {
    let end = classes.and_then(|classes| i64::try_from(classes).ok()).unwrap_or(i64::MAX);
    let wrong = |label: i64| Some(label) != ignored && !(0..end).contains(&label);
    if let Some((sample, label)) = labels.iter().enumerate().find(|&(_, &label)| wrong(label)) {
        let least = labels.iter().min().copied().unwrap_or(0);
        let hint = if least == 1 && *label == end { "; where they count from 1, write them from 0" } else { "" };
        let range =
            classes.map_or("0 or more".to_owned(), |classes| format!("from 0 to {}", classes.saturating_sub(1)));
        return Err(TrainError::Unusable(format!(
            "the label of sample {sample} of the {what} data is {label}, and the model's classes are {range}{hint}"
        )));
    }
    if !labels.iter().any(|&label| Some(label) != ignored) {
        return Err(TrainError::Unusable(format!("no sample of the {what} data has a label that counts")));
    }
    Ok(())
}

/// The weight of each class; None where all are equal.
pub fn class_weights(
    wanted: &ClassWeights,
    labels: &[i64],
    classes: Option<usize>,
    ignored: Option<i64>,
) -> Result<Option<Vec<f32>>, TrainError> {
    match wanted {
        ClassWeights::Equal => Ok(None),
        ClassWeights::Given(weights) => {
            if let Some(classes) = classes.filter(|&classes| classes != weights.len()) {
                return Err(TrainError::Options(format!(
                    "{} class weights for {classes} classes; give one for each",
                    weights.len()
                )));
            }
            if let Some(weight) = weights.iter().find(|weight| !(weight.is_finite() && **weight >= 0.0)) {
                return Err(TrainError::Options(format!("a class weight is 0 or more, not {weight}")));
            }
            Ok(Some(weights.clone()))
        }
        ClassWeights::Balanced => {
            let classes = classes.or_else(|| usize::try_from(labels.iter().max()? + 1).ok()).unwrap_or(0);
            let mut counts = vec![0u64; classes];
            for &label in labels.iter().filter(|&&label| Some(label) != ignored) {
                if let Some(count) = usize::try_from(label).ok().and_then(|label| counts.get_mut(label)) {
                    *count += 1;
                }
            }
            let all: u64 = counts.iter().sum();
            let there = counts.iter().filter(|&&count| count > 0).count();
            // a class without samples gets none of the weight
            let weight = |&count: &u64| if count == 0 { 0.0 } else { all as f32 / (there as f32 * count as f32) };
            Ok(Some(counts.iter().map(weight).collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_classes() {
        assert!(check_labels("training", &[0, 2, -1], Some(3), Some(-1)).is_ok());
        let text =
            |labels: &[i64], ignored| check_labels("training", labels, Some(3), ignored).unwrap_err().to_string();
        assert!(text(&[0, -1], None).contains("the label of sample 1 of the training data is -1"));
        assert!(text(&[1, 2, 3], None).ends_with("from 0 to 2; where they count from 1, write them from 0"));
        assert!(text(&[7], Some(7)).contains("no sample"));
        assert!(text(&[], None).contains("no sample"));
    }

    #[test]
    fn balanced_weights_make_classes_count_as_much() {
        let weights = |wanted, labels: &[i64]| class_weights(&wanted, labels, Some(3), Some(-1)).map(Option::unwrap);
        assert_eq!(weights(ClassWeights::Balanced, &[0, 0, 0, 1, -1]).unwrap(), [4.0 / 6.0, 2.0, 0.0]);
        assert_eq!(weights(ClassWeights::Given(vec![1.0; 3]), &[]).unwrap(), [1.0; 3]);
        assert!(weights(ClassWeights::Given(vec![1.0; 2]), &[]).unwrap_err().to_string().contains("3 classes"));
        assert!(weights(ClassWeights::Given(vec![-1.0; 3]), &[]).unwrap_err().to_string().contains("0 or more"));
        assert_eq!(class_weights(&ClassWeights::Equal, &[], None, None).unwrap(), None);
    }
}
