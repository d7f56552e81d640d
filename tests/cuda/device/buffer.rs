//! Device memory that notices writes beside it.

use std::marker::PhantomData;

use cudarc::driver::sys;
use half::{bf16, f16};

use super::{Device, ok};
use crate::host::{Tensor, Type};

/// What tensors hold.
pub trait Element: Type + PartialEq + std::fmt::Debug {}
impl Element for f16 {}
impl Element for bf16 {}
impl Element for f32 {}
impl Element for f64 {}
impl Element for i32 {}
impl Element for i64 {}

/// Bytes before and after the elements; more than the widest access.
const GUARD: usize = 64;
const GUARD_BYTE: u8 = 0xA5;

/// `len` elements, the first of them `offset` elements after an address that is a multiple of 256.
pub struct Buffer<'d, T> {
    device: &'d Device,
    base: u64,
    bytes: usize,
    start: usize,
    len: usize,
    element: PhantomData<T>,
}

impl<'d, T: Element> Buffer<'d, T> {
    /// With these elements.
    pub fn with(device: &'d Device, offset: usize, elements: &[T]) -> Buffer<'d, T> {
        let buffer = Buffer::empty(device, offset, elements.len());
        let size = size_of_val(elements);
        // SAFETY: any element is bytes.
        let bytes = unsafe { std::slice::from_raw_parts(elements.as_ptr().cast::<u8>(), size) };
        let mut all = vec![GUARD_BYTE; buffer.bytes];
        all[buffer.start..][..size].copy_from_slice(bytes);
        buffer.upload(&all);
        buffer
    }

    /// Filled with bytes that are a NaN in every type of float: what is not written shows.
    pub fn unwritten(device: &'d Device, offset: usize, len: usize) -> Buffer<'d, T> {
        let buffer = Buffer::empty(device, offset, len);
        buffer.forget();
        buffer
    }

    /// Fills it with those bytes again.
    pub fn forget(&self) {
        let mut all = vec![GUARD_BYTE; self.bytes];
        all[self.start..][..self.len * size_of::<T>()].fill(0xFF);
        self.upload(&all);
    }

    fn empty(device: &'d Device, offset: usize, len: usize) -> Buffer<'d, T> {
        let start = GUARD.next_multiple_of(256) + offset * size_of::<T>();
        let bytes = start + len * size_of::<T>() + GUARD;
        let mut base = 0;
        let _current = device.current();
        // SAFETY: an address is written to where it goes.
        ok(unsafe { sys::cuMemAlloc_v2(&mut base, bytes) });
        Buffer { device, base, bytes, start, len, element: PhantomData }
    }

    fn upload(&self, all: &[u8]) {
        let _current = self.device.current();
        // SAFETY: the allocation has as many bytes.
        ok(unsafe { sys::cuMemcpyHtoD_v2(self.base, all.as_ptr().cast(), all.len()) });
    }

    /// The elements, once the stream is done; the bytes before and after them are what they were.
    #[track_caller]
    pub fn read(&self) -> Vec<T> {
        self.device.synchronize();
        let mut all = vec![0u8; self.bytes];
        {
            let _current = self.device.current();
            // SAFETY: as many bytes as the allocation has.
            ok(unsafe { sys::cuMemcpyDtoH_v2(all.as_mut_ptr().cast(), self.base, all.len()) });
        }
        let end = self.start + self.len * size_of::<T>();
        for (at, &byte) in all.iter().enumerate() {
            let inside = (self.start..end).contains(&at);
            let from_start = at as i64 - self.start as i64;
            assert!(inside || byte == GUARD_BYTE, "byte {from_start} of {} is overwritten", end - self.start);
        }
        // SAFETY: elements are bytes, any bytes are an element; the vector may be less aligned than they are.
        (0..self.len).map(|i| unsafe { all.as_ptr().add(self.start).cast::<T>().add(i).read_unaligned() }).collect()
    }

    /// The elements as bits.
    #[track_caller]
    pub fn bits(&self) -> Vec<u64> {
        let bits = |x: &T| {
            let mut bytes = [0u8; 8];
            // SAFETY: an element has at most eight bytes.
            unsafe { std::ptr::copy_nonoverlapping((&raw const *x).cast(), bytes.as_mut_ptr(), size_of::<T>()) };
            u64::from_le_bytes(bytes)
        };
        self.read().iter().map(bits).collect()
    }

    /// As a tensor of that shape.
    pub fn tensor(&self, shape: &[usize]) -> Tensor {
        assert_eq!(shape.iter().product::<usize>(), self.len);
        Tensor::new::<T>(shape, self.base + self.start as u64)
    }
}

impl<T> Drop for Buffer<'_, T> {
    fn drop(&mut self) {
        let _current = self.device.current();
        // SAFETY: the allocation is this buffer's. In a spoilt context it fails, and goes with the context.
        let _ = unsafe { sys::cuMemFree_v2(self.base) };
    }
}
