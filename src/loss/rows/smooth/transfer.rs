//! Between logits or gradient in memory and buffers of the type computed in.

use super::super::isa::with_isa;
use super::super::simd::Packed;
use super::super::tile::{Tile, load as load_in, store as store_in, widen as widen_in};

with_isa! {
    /// Loads `count` numbers.
    ///
    /// # Safety
    /// The instruction set is available; both pointers are good for `count` numbers.
    fn widen<T: Packed>(from: *const T, to: *mut T::Compute, count: usize) = widen_in;
    /// Loads classes `start..end` of a tile.
    ///
    /// # Safety
    /// The instruction set is available; the tile lies within the logits; `numbers` and `staged` have room.
    fn load<T: Packed>(
        tile: &Tile, logits: *const T, start: usize, end: usize, numbers: *mut T::Compute, staged: *mut T::Compute
    ) = load_in;
    /// Stores factor · number of classes `start..end` of a tile, and 0 where the factor is 0.
    ///
    /// # Safety
    /// As [`load`], and for the output.
    fn store<T: Packed>(
        tile: &Tile, numbers: *mut T::Compute, factors: *const T::Compute, start: usize, end: usize,
        staged: *mut T::Compute, output: *mut T, stream: bool
    ) = store_in;
}
