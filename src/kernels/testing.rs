//! Numbers for tests, and how close results must be.

/// Numbers in (−1, 1), other ones per seed.
pub(super) fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..len).map(|_| random.f32() * 2.0 - 1.0).collect()
}

/// Every number within `tolerance` · (1 + |expected|).
#[track_caller]
pub(super) fn close(found: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: how many");
    for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let found = f64::from(found);
        assert!(
            (found - expected).abs() <= tolerance * (1.0 + expected.abs()),
            "{what}: [{i}] {found}, not {expected}"
        );
    }
}
