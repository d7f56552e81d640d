//! Numbers for tests, and how close results must be.

use crate::loss::Isa;

/// Numbers in (−1, 1), other ones per seed.
pub(super) fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..len).map(|_| random.f32() * 2.0 - 1.0).collect()
}

thread_local! {
    static ISA: std::cell::Cell<Option<Isa>> = const { std::cell::Cell::new(None) };
}

/// What [`on_every_isa`] asks for now.
pub(super) fn asked_isa() -> Option<Isa> {
    ISA.get()
}

/// Runs a check on every instruction set of the machine.
pub(super) fn on_every_isa(check: impl Fn()) {
    for isa in Isa::available() {
        ISA.set(Some(isa));
        println!("on {isa}");
        check();
    }
    ISA.set(None);
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
