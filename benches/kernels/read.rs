//! Ways of reading memory: the fastest is the limit of the forward pass.

use std::hint::black_box;

use rayon::prelude::*;

/// Eight words: a cache line, and a register of AVX-512.
type Line = [u64; 8];

/// Sums of 64-bit words with eight line-wide accumulators.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReadWay {
    width: Width,
    /// Places that are read from in turn.
    streams: usize,
    /// Lines that are prefetched ahead; 0 leaves it to the hardware.
    ahead: usize,
    /// Pieces that the buffer is cut into for the threads.
    pub parts: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Width {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Baseline,
}

impl ReadWay {
    pub fn all(parts: &[usize]) -> Vec<ReadWay> {
        let mut widths = vec![Width::Baseline];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                widths.push(Width::Avx2);
            }
            if is_x86_feature_detected!("avx512f") {
                widths.push(Width::Avx512);
            }
        }
        let mut ways = Vec::new();
        for &parts in parts {
            for &width in &widths {
                for (streams, ahead) in [(1, 0), (1, 16), (1, 64), (4, 0), (4, 16)] {
                    ways.push(ReadWay { width, streams, ahead, parts });
                }
            }
        }
        ways
    }

    pub fn name(&self) -> String {
        let ReadWay { width, streams, ahead, parts } = self;
        format!("{width:?}, {streams} streams, {ahead} lines ahead, {parts} parts").to_lowercase()
    }

    /// Reads `buffer` in the rayon pool of the caller.
    pub fn run<T: Sync>(&self, buffer: &[T]) {
        if self.parts == 1 {
            black_box(self.sum(buffer));
            return;
        }
        let part = buffer.len().div_ceil(self.parts).next_multiple_of(64);
        black_box(buffer.par_chunks(part).map(|piece| self.sum(piece)).reduce(|| 0, u64::wrapping_add));
    }

    fn sum<T>(&self, buffer: &[T]) -> u64 {
        // SAFETY: the memory is initialised and any eight bytes are a u64.
        let words = unsafe { buffer.align_to::<u64>().1 };
        match (self.streams, self.ahead) {
            (1, 0) => sum::<1, 0>(self.width, words),
            (1, 16) => sum::<1, 16>(self.width, words),
            (1, 64) => sum::<1, 64>(self.width, words),
            (4, 0) => sum::<4, 0>(self.width, words),
            _ => sum::<4, 16>(self.width, words),
        }
    }
}

fn sum<const STREAMS: usize, const AHEAD: usize>(width: Width, words: &[u64]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    fn avx512<const STREAMS: usize, const AHEAD: usize>(words: &[u64]) -> u64 {
        sum_lines::<STREAMS, AHEAD>(words)
    }
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn avx2<const STREAMS: usize, const AHEAD: usize>(words: &[u64]) -> u64 {
        sum_lines::<STREAMS, AHEAD>(words)
    }
    match width {
        // SAFETY: `ReadWay::all` makes only widths that the machine has.
        #[cfg(target_arch = "x86_64")]
        Width::Avx512 => unsafe { avx512::<STREAMS, AHEAD>(words) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Width::Avx2 => unsafe { avx2::<STREAMS, AHEAD>(words) },
        Width::Baseline => sum_lines::<STREAMS, AHEAD>(words),
    }
}

/// The body that is compiled for each width; the compiler keeps `sums` in registers.
#[inline(always)]
fn sum_lines<const STREAMS: usize, const AHEAD: usize>(words: &[u64]) -> u64 {
    let unroll = 8 / STREAMS;
    let (lines, rest) = words.as_chunks::<8>();
    let part = lines.len() / STREAMS / unroll * unroll;
    let mut sums = [[0u64; 8]; 8];
    for first in (0..part).step_by(unroll) {
        for stream in 0..STREAMS {
            for i in 0..unroll {
                let at = stream * part + first + i;
                if AHEAD > 0 {
                    prefetch(lines.as_ptr().wrapping_add(at + AHEAD));
                }
                // SAFETY: at < STREAMS·part ≤ lines.len(), as `part` is a multiple of `unroll`.
                add(&mut sums[stream * unroll + i], unsafe { lines.get_unchecked(at) });
            }
        }
    }
    for line in &lines[STREAMS * part..] {
        add(&mut sums[0], line);
    }
    sums.as_flattened().iter().chain(rest).fold(0, |sum, &word| sum.wrapping_add(word))
}

#[inline(always)]
fn add(sum: &mut Line, line: &Line) {
    for (sum, word) in sum.iter_mut().zip(line) {
        *sum = sum.wrapping_add(*word);
    }
}

/// A hint; any address is allowed.
#[inline(always)]
pub fn prefetch<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing and faults nowhere.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
