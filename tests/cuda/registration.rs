//! What the plugin registers, host by host.

use crate::host::Host;

/// Those for both devices; the operators of training are the CPU's alone.
const OPERATORS: [&str; 3] = ["EncouragingLoss", "EncouragingLossGrad", "EncouragingLossAndGrad"];

#[test]
fn cuda_has_the_losses_that_the_cpu_has() {
    let host = Host::newest();
    let signature = |provider| {
        let mut all: Vec<_> = host
            .operators(provider)
            .iter()
            .filter(|operator| OPERATORS.contains(&&*operator.name))
            .map(|operator| (operator.name.clone(), operator.input_types.clone()))
            .collect();
        all.sort();
        all
    };
    let cuda = signature(Some("CUDAExecutionProvider"));
    assert_eq!(cuda, signature(None));
    // four types of logits, two of labels
    assert_eq!(cuda.len(), OPERATORS.len() * 8);
    assert!(host.operators(Some("CUDAExecutionProvider")).iter().all(|operator| OPERATORS.contains(&&*operator.name)));
}

#[test]
fn cuda_offers_gradients_in_place_to_hosts_that_know_of_it() {
    for (version, knows) in [("1.17.3", false), ("1.18.1", true), ("1.19.2", true), ("1.23.2", true), ("1.32.0", true)]
    {
        let host = Host::load(version).unwrap();
        for operator in host.operators(Some("CUDAExecutionProvider")) {
            // logits, dlogits
            let expected: &[(i32, i32)] = match &*operator.name {
                _ if !knows => &[],
                "EncouragingLossGrad" => &[(1, 0)],
                "EncouragingLossAndGrad" => &[(0, 2)],
                _ => &[],
            };
            assert_eq!(operator.in_place, expected, "{} on {version}", operator.name);
        }
        assert!(host.operators(None).iter().all(|operator| operator.in_place.is_empty()), "the CPU's work on slices");
    }
}

#[test]
fn cuda_hosts_that_are_too_old_are_told_so() {
    let refused = Host::load("1.16.3").err().expect("refused");
    assert!(refused.message.contains("1.17 or newer, this is 1.16.3"), "{}", refused.message);
}
