//! The kernels, compiled once per instruction set.

use crate::loss::Isa;

/// The instruction set to run on: the best one of the machine, or what a test asks for on its thread.
pub(super) fn best() -> Isa {
    #[cfg(test)]
    if let Some(isa) = super::testing::asked_isa() {
        return isa;
    }
    Isa::detect()
}

/// `compiled! { fn name(arguments) = body; }` makes `name(isa, arguments)`, which runs `body::<S>(arguments)` compiled
/// for that instruction set.
///
/// Whatever is `#[inline(always)]` under `body` is compiled for it too: plain loops over slices become registers as wide
/// as the machine's.
macro_rules! compiled {
    ($($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? = $body:ident;)*) => {$(
        $(#[$doc])*
        #[allow(clippy::too_many_arguments, reason = "the kernel's, and the instruction set")]
        $vis fn $name(isa: $crate::loss::Isa, $($arg: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
            #[allow(clippy::too_many_arguments)]
            fn avx512($($arg: $type),*) $(-> $result)? {
                // SAFETY: the instruction set is enabled here.
                unsafe { $body::<$crate::loss::rows::simd::avx512::Avx512>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            #[allow(clippy::too_many_arguments)]
            fn avx2($($arg: $type),*) $(-> $result)? {
                // SAFETY: the instruction set is enabled here.
                unsafe { $body::<$crate::loss::rows::simd::avx2::Avx2>($($arg),*) }
            }
            // a caller that has the wrong one loses speed, never soundness
            let isa = if isa.is_available() { isa } else { $crate::loss::Isa::detect() };
            // SAFETY: the machine has it, as just asked.
            unsafe {
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    $crate::loss::Isa::Avx512 => avx512($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::loss::Isa::Avx2 => avx2($($arg),*),
                    #[cfg(target_arch = "aarch64")]
                    $crate::loss::Isa::Neon => $body::<$crate::loss::rows::simd::neon::Neon>($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::loss::Isa::Sse2 => $body::<$crate::loss::rows::simd::sse2::Sse2>($($arg),*),
                    _ => $body::<$crate::loss::rows::simd::portable::Portable>($($arg),*),
                }
            }
        }
    )*};
}
pub(super) use compiled;
