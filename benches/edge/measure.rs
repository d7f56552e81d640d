//! Calls in turn, and the fastest of each.

use std::time::Instant;

use elonnx::edge::EdgeError;

/// A sample of a call takes at least so long, so that reading the clock does not count.
const SAMPLE: f64 = 100e-6;
const LEAST_ROUNDS: usize = 3;

/// Seconds of each call at its fastest, the calls in turn for `seconds`.
///
/// # Errors
/// Those of the calls.
pub fn minima<const N: usize>(
    seconds: f64,
    mut calls: [&mut dyn FnMut() -> Result<(), EdgeError>; N],
) -> Result<[f64; N], EdgeError> {
    let mut best = [f64::INFINITY; N];
    let mut repeats = [1_usize; N];
    for (call, repeats) in calls.iter_mut().zip(&mut repeats) {
        call()?;
        let start = Instant::now();
        call()?;
        *repeats = (SAMPLE / start.elapsed().as_secs_f64().max(1e-9)).ceil().clamp(1.0, 1e5) as usize;
    }
    let start = Instant::now();
    let mut rounds = 0;
    while rounds < LEAST_ROUNDS || start.elapsed().as_secs_f64() < seconds {
        for ((call, best), &repeats) in calls.iter_mut().zip(&mut best).zip(&repeats) {
            let start = Instant::now();
            for _ in 0..repeats {
                call()?;
            }
            *best = best.min(start.elapsed().as_secs_f64() / repeats as f64);
        }
        rounds += 1;
    }
    Ok(best)
}

/// "12.34 µs" of a call on so many samples.
pub fn per_sample(seconds: f64, rows: usize) -> String {
    let time = seconds / rows as f64;
    match time {
        t if t >= 1e-3 => format!("{:8.3} ms", t * 1e3),
        t if t >= 1e-6 => format!("{:8.3} µs", t * 1e6),
        t => format!("{:8.1} ns", t * 1e9),
    }
}
