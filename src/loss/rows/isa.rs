//! Which instruction set the kernels run on.

use std::fmt;
use std::sync::OnceLock;

/// An instruction set that the kernels are compiled for. All give results within the same tolerances, but not the same
/// bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isa {
    /// AVX-512 F, BW, DQ and VL (x86-64).
    Avx512,
    /// AVX2 with FMA and F16C (x86-64).
    Avx2,
    /// NEON (64-bit ARM).
    Neon,
    /// SSE2, which every x86-64 has.
    Sse2,
    /// Plain Rust, on other targets than those of the sets above.
    Portable,
}

impl Isa {
    /// The instruction sets of this machine, the best one first.
    #[must_use]
    pub fn available() -> Vec<Isa> {
        let all = [Isa::Avx512, Isa::Avx2, Isa::Sse2, Isa::Neon, Isa::Portable];
        all.into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// The best instruction set of this machine.
    #[must_use]
    pub fn detect() -> Isa {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| {
            let sets = [Isa::Avx512, Isa::Avx2, Isa::Sse2, Isa::Neon];
            sets.into_iter().find(|isa| isa.is_available()).unwrap_or(Isa::Portable)
        })
    }

    /// Whether this machine has it.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                Isa::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Sse2 => true,
            // tests run it everywhere
            Isa::Portable => cfg!(any(test, not(any(target_arch = "x86_64", target_arch = "aarch64")))),
            #[allow(unreachable_patterns, reason = "which sets are left depends on the target")]
            _ => false,
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Isa::Avx512 => "AVX-512",
            Isa::Avx2 => "AVX2",
            Isa::Neon => "NEON",
            Isa::Sse2 => "SSE2",
            Isa::Portable => "portable",
        })
    }
}

/// `with_isa! { fn name<T>(arguments) -> result = body; }` makes `name::<T>(isa, arguments)`, which runs
/// `body::<S, T>(arguments)` compiled for that instruction set.
macro_rules! with_isa {
    ($($(#[$doc:meta])* fn $name:ident<$t:ident: $bound:path>($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? = $body:ident;)*) => {$(
        $(#[$doc])*
        #[allow(clippy::too_many_arguments, reason = "the kernel's, and the instruction set")]
        pub unsafe fn $name<$t: $bound>(isa: $crate::loss::rows::Isa, $($arg: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
            #[allow(clippy::too_many_arguments)]
            unsafe fn avx512<$t: $bound>($($arg: $type),*) $(-> $result)? {
                // SAFETY: the caller's, and the instruction set is enabled here.
                unsafe { $body::<$crate::loss::rows::simd::avx512::Avx512, $t>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            #[allow(clippy::too_many_arguments)]
            unsafe fn avx2<$t: $bound>($($arg: $type),*) $(-> $result)? {
                // SAFETY: the caller's, and the instruction set is enabled here.
                unsafe { $body::<$crate::loss::rows::simd::avx2::Avx2, $t>($($arg),*) }
            }
            // SAFETY: the caller's; an Isa is only used where it is available.
            unsafe {
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    $crate::loss::rows::Isa::Avx512 => avx512::<$t>($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::loss::rows::Isa::Avx2 => avx2::<$t>($($arg),*),
                    #[cfg(target_arch = "aarch64")]
                    $crate::loss::rows::Isa::Neon => $body::<$crate::loss::rows::simd::neon::Neon, $t>($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::loss::rows::Isa::Sse2 => $body::<$crate::loss::rows::simd::sse2::Sse2, $t>($($arg),*),
                    #[cfg(any(test, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
                    $crate::loss::rows::Isa::Portable => {
                        $body::<$crate::loss::rows::simd::portable::Portable, $t>($($arg),*)
                    }
                    #[allow(unreachable_patterns, reason = "which sets are left depends on the target")]
                    isa => unreachable!("{isa} is not available here"),
                }
            }
        }
    )*};
}
pub(super) use with_isa;
