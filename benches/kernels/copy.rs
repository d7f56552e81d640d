//! Ways of copying memory: the fastest is the limit of the passes that write a gradient.

use rayon::prelude::*;

/// `memcpy`, or stores that pass the caches by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CopyWay {
    stores: Stores,
    /// Pieces that the buffer is cut into for the threads.
    pub parts: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stores {
    Memcpy,
    /// Non-temporal stores of whole lines, `true` with prefetches 16 lines ahead.
    #[cfg(target_arch = "x86_64")]
    Avx512(bool),
    #[cfg(target_arch = "x86_64")]
    Avx(bool),
}

impl CopyWay {
    pub fn all(parts: &[usize]) -> Vec<CopyWay> {
        let mut all = vec![Stores::Memcpy];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx") {
                all.extend([Stores::Avx(false), Stores::Avx(true)]);
            }
            if is_x86_feature_detected!("avx512f") {
                all.extend([Stores::Avx512(false), Stores::Avx512(true)]);
            }
        }
        parts.iter().flat_map(|&parts| all.iter().map(move |&stores| CopyWay { stores, parts })).collect()
    }

    pub fn name(&self) -> String {
        let stores = match self.stores {
            Stores::Memcpy => "memcpy",
            #[cfg(target_arch = "x86_64")]
            Stores::Avx512(false) => "avx512 non-temporal",
            #[cfg(target_arch = "x86_64")]
            Stores::Avx512(true) => "avx512 non-temporal, 16 lines ahead",
            #[cfg(target_arch = "x86_64")]
            Stores::Avx(false) => "avx non-temporal",
            #[cfg(target_arch = "x86_64")]
            Stores::Avx(true) => "avx non-temporal, 16 lines ahead",
        };
        format!("{stores}, {} parts", self.parts)
    }

    /// Copies in the rayon pool of the caller.
    pub fn run<T: Copy + Send + Sync>(&self, from: &[T], to: &mut [T]) {
        if self.parts == 1 {
            return self.copy(from, to);
        }
        let part = from.len().div_ceil(self.parts).next_multiple_of(64);
        from.par_chunks(part).zip(to.par_chunks_mut(part)).for_each(|(from, to)| self.copy(from, to));
    }

    fn copy<T: Copy>(&self, from: &[T], to: &mut [T]) {
        match self.stores {
            Stores::Memcpy => to.copy_from_slice(from),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `CopyWay::all` makes only stores that the machine has.
            Stores::Avx512(ahead) => unsafe { x86::avx512(from, to, ahead) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Stores::Avx(ahead) => unsafe { x86::avx(from, to, ahead) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256i, __m512i, _mm_sfence, _mm256_loadu_si256, _mm256_stream_si256, _mm512_loadu_si512, _mm512_stream_si512,
    };

    use crate::read::prefetch;

    const LINE: usize = 64;

    /// Copies what does not fill a line at both ends, and calls `line` for the lines between: 64-byte aligned targets,
    /// 64 bytes each.
    #[inline(always)]
    fn lines<T: Copy>(from: &[T], to: &mut [T], ahead: bool, line: impl Fn(*const u8, *mut u8)) {
        assert_eq!(from.len(), to.len());
        let per_line = LINE / size_of::<T>();
        let head = to.as_ptr().align_offset(LINE).min(to.len());
        let tail = head + (to.len() - head) / per_line * per_line;
        to[..head].copy_from_slice(&from[..head]);
        for at in (head..tail).step_by(per_line) {
            let source = from[at..].as_ptr();
            if ahead {
                prefetch(source.wrapping_add(16 * per_line));
            }
            line(source.cast(), to[at..].as_mut_ptr().cast());
        }
        to[tail..].copy_from_slice(&from[tail..]);
    }

    /// # Safety
    /// The machine has AVX-512 F.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn avx512<T: Copy>(from: &[T], to: &mut [T], ahead: bool) {
        // SAFETY: `lines` gives whole lines within both buffers, those written to aligned.
        lines(from, to, ahead, |from, to| unsafe {
            _mm512_stream_si512(to.cast::<__m512i>(), _mm512_loadu_si512(from.cast()));
        });
        _mm_sfence();
    }

    /// # Safety
    /// The machine has AVX.
    #[target_feature(enable = "avx")]
    pub unsafe fn avx<T: Copy>(from: &[T], to: &mut [T], ahead: bool) {
        // SAFETY: as above.
        lines(from, to, ahead, |from, to| unsafe {
            let (from, to) = (from.cast::<__m256i>(), to.cast::<__m256i>());
            let (low, high) = (_mm256_loadu_si256(from), _mm256_loadu_si256(from.add(1)));
            _mm256_stream_si256(to, low);
            _mm256_stream_si256(to.add(1), high);
        });
        _mm_sfence();
    }
}
