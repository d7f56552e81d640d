//! Many rows at once, a lane for each: for class axes with a stride (segmentation, sequences) and for few classes.
//!
//! A tile is loaded class by class into a scratch area in the type computed in, where the rows lie side by side.
//! Logits [N, C, d…] with a long inner axis are loaded in runs along that axis; where that axis is short (or there is
//! none), some entries of the batch make a tile and are transposed on the way in and out. More classes than fit the
//! scratch area come in chunks, and a second time for the gradient.

use std::mem::MaybeUninit;

use super::batch::{Batch, IGNORED, MOST_ROWS};
use super::contiguous::unaligned;
use super::exp::exp;
use super::isa::with_isa;
use super::lane::Lane;
use super::simd::{MOST_LANES, Packed, Simd, Vector};
use crate::loss::element::Real;

/// Half of the second cache of the machines we know.
pub const SCRATCH_BYTES: usize = 128 * 1024;
/// Numbers that are transposed at a time.
pub const STAGED: usize = 1024;
/// Terms that are added up in one register before they go to a second one: keeps f32 sums of many terms exact.
pub const GROUP: usize = 16;

/// Room for a tile; on the stack of the thread.
#[repr(align(64))]
pub struct Scratch {
    numbers: MaybeUninit<[u8; SCRATCH_BYTES]>,
    staged: MaybeUninit<[u64; STAGED + MOST_LANES]>,
    /// Per row: what to take from the logits, twice, and the factor of the gradient.
    first: MaybeUninit<[u64; MOST_ROWS + MOST_LANES]>,
    second: MaybeUninit<[u64; MOST_ROWS + MOST_LANES]>,
    factors: MaybeUninit<[u64; MOST_ROWS + MOST_LANES]>,
}

impl Scratch {
    pub const fn new() -> Self {
        Scratch {
            numbers: MaybeUninit::uninit(),
            staged: MaybeUninit::uninit(),
            first: MaybeUninit::uninit(),
            second: MaybeUninit::uninit(),
            factors: MaybeUninit::uninit(),
        }
    }
}

/// Where a tile lies: `batches` × `run` rows, from inner position `inner_start` of batch entry `batch_start` on.
#[derive(Clone, Copy, Debug)]
pub struct Tile {
    pub batch_start: usize,
    pub batches: usize,
    pub inner_start: usize,
    pub run: usize,
    /// C and D of the logits.
    pub classes: usize,
    pub inner: usize,
}

/// Goes through the scratch area as the logits lie in memory: inner axis, classes, batch.
struct Places<R> {
    entry: *mut R,
    place: *mut R,
    class: usize,
    inner: usize,
    pitch: usize,
}

impl<R> Places<R> {
    /// # Safety
    /// As [`Tile::places`]; not called more often than there are numbers left.
    #[inline(always)]
    unsafe fn next(&mut self, tile: &Tile) -> *mut R {
        let place = self.place;
        self.inner += 1;
        if self.inner < tile.run {
            self.place = place.wrapping_add(1);
            return place;
        }
        self.inner = 0;
        self.class += 1;
        if self.class == tile.classes {
            self.class = 0;
            self.entry = self.entry.wrapping_add(tile.run);
            self.place = self.entry;
        } else {
            self.place = place.wrapping_add(self.pitch + 1 - tile.run);
        }
        place
    }
}

/// What the gradient is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// exp(z − reference), which [`statistics`] left in the scratch area.
    Exponentials,
    /// References and sums.
    Statistics,
    /// Label logits and margins.
    Margins,
}

impl Tile {
    pub fn rows(&self) -> usize {
        self.batches * self.run
    }

    /// Rows of the scratch area: whole registers, and not a power of two apart, where they would share cache lines.
    pub fn pitch(&self) -> usize {
        let whole = self.rows().next_multiple_of(MOST_LANES);
        if whole.is_multiple_of(64) { whole + MOST_LANES } else { whole }
    }

    /// Classes that fit the scratch area.
    pub fn chunk(&self, number_bytes: usize) -> usize {
        (SCRATCH_BYTES / number_bytes / self.pitch()).min(self.classes)
    }

    /// The whole tile fits, so that it is read once.
    pub fn fits(&self, number_bytes: usize) -> bool {
        self.chunk(number_bytes) == self.classes
    }

    /// Entries that lie side by side in the logits and are transposed together: all of their classes are wanted.
    fn entries_staged(&self, start: usize, end: usize) -> usize {
        if end - start == self.classes { (STAGED / (self.classes * self.run)).max(1) } else { 1 }
    }

    /// Where the numbers of entry `batch` lie in the scratch area, from its `done`th number on, in the order of the
    /// logits.
    ///
    /// # Safety
    /// `numbers` is that of a [`Scratch`] for this tile.
    #[inline(always)]
    unsafe fn places<R>(&self, numbers: *mut R, batch: usize, done: usize) -> Places<R> {
        let (class, inner) = (done / self.run, done % self.run);
        let pitch = self.pitch();
        // SAFETY: the caller's.
        let (entry, place) = unsafe {
            let entry = numbers.add(batch * self.run);
            (entry, entry.add(class * pitch + inner))
        };
        Places { entry, place, class, inner, pitch }
    }

    /// Index in the logits of a class of a batch entry's first row.
    fn index(&self, batch: usize, class: usize) -> usize {
        ((self.batch_start + batch) * self.classes + class) * self.inner + self.inner_start
    }
}

with_isa! {
    /// References and sums of all rows, and their label logits; rows that are ignored get some numbers.
    ///
    /// # Safety
    /// The instruction set is available; the tile lies within the logits.
    fn statistics<T: Packed>(
        tile: &Tile, next: Option<&Tile>, logits: *const T, scratch: &mut Scratch, batch: &mut Batch
    ) = statistics_in;
    /// The gradient of all rows.
    ///
    /// # Safety
    /// As [`statistics`], and for the output too.
    fn write_gradient<T: Packed>(
        tile: &Tile, next: Option<&Tile>, logits: *const T, scratch: &mut Scratch, batch: &Batch, source: Source,
        output: *mut T, stream: bool
    ) = write_gradient_in;
}

#[inline(always)]
unsafe fn statistics_in<S: Simd, T: Packed>(
    tile: &Tile,
    next: Option<&Tile>,
    logits: *const T,
    scratch: &mut Scratch,
    batch: &mut Batch,
) {
    let lanes = T::Vector::<S>::LANES;
    let (pitch, chunk, rows) = (tile.pitch(), tile.chunk(size_of::<T::Compute>()), tile.rows());
    let numbers = scratch.numbers.as_mut_ptr().cast::<T::Compute>();
    let staged = scratch.staged.as_mut_ptr().cast::<T::Compute>();
    let references = scratch.first.as_mut_ptr().cast::<T::Compute>();
    let sums = scratch.second.as_mut_ptr().cast::<T::Compute>();
    let lowest = T::Compute::from_f64(-1e30);
    // SAFETY: the caller's; the scratch area holds `chunk` classes of `pitch` rows, the columns `rows` numbers.
    unsafe {
        let padded = rows.next_multiple_of(lanes);
        for row in (0..padded).step_by(lanes) {
            T::Vector::<S>::splat(lowest).store(references.add(row));
        }
        let mut start = 0;
        while start < tile.classes {
            let end = (start + chunk).min(tile.classes);
            load::<S, T>(tile, logits, start, end, numbers, staged);
            for row in 0..rows {
                let class = batch.classes()[row];
                if class.wrapping_sub(start) < end - start {
                    let z = numbers.add((class - start) * pitch + row);
                    batch.label_logits_mut()[row] = z.read().to_f64();
                    z.write(T::Compute::NEG_INFINITY);
                }
            }
            for row in (0..padded).step_by(lanes) {
                let ahead = ahead(tile, next, logits, start, row);
                sum_column::<S, T>(numbers.add(row), pitch, ahead, end - start, references.add(row), sums.add(row));
            }
            let (all_references, all_sums) = batch.statistics_mut();
            if start == 0 {
                for row in 0..rows {
                    all_references[row] = references.add(row).read().to_f64();
                    all_sums[row] = sums.add(row).read().to_f64();
                }
            } else {
                for row in 0..rows {
                    let reference = references.add(row).read().to_f64();
                    let before = all_sums[row] * Lane(all_references[row] - reference).exp().0;
                    all_references[row] = reference;
                    all_sums[row] = before + sums.add(row).read().to_f64();
                }
            }
            start = end;
        }
    }
}

/// What of the next tile lies where this one's column does.
struct Ahead<T> {
    first: *const T,
    stride: usize,
}

/// The next tile is fetched while this one is computed with: its runs lie too far apart for the machine to see them
/// coming. Without a next tile, or where tiles lie in one piece, this gives what has been read already.
#[inline(always)]
fn ahead<T>(tile: &Tile, next: Option<&Tile>, logits: *const T, class: usize, row: usize) -> Ahead<T> {
    match next {
        Some(next) if tile.run > MOST_LANES => {
            Ahead { first: logits.wrapping_add(next.index(0, class) + row), stride: tile.inner }
        }
        _ => Ahead { first: logits.wrapping_add(tile.index(0, class)), stride: 0 },
    }
}

/// A register of rows: the reference grows to the largest of their logits, the logits become exp(z − reference), and
/// those are added up.
///
/// # Safety
/// As [`Vector`]; `classes` registers lie `pitch` apart.
#[inline(always)]
unsafe fn sum_column<S: Simd, T: Packed>(
    numbers: *mut T::Compute,
    pitch: usize,
    ahead: Ahead<T>,
    classes: usize,
    reference: *mut T::Compute,
    sum: *mut T::Compute,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut max = T::Vector::<S>::load(reference);
        for class in 0..classes {
            max = T::Vector::<S>::load(numbers.add(class * pitch)).max(max);
        }
        max.store(reference);
        let mut total = T::Vector::<S>::splat(T::Compute::ZERO);
        let mut class = 0;
        while class < classes {
            let end = (class + GROUP).min(classes);
            let mut group = T::Vector::<S>::splat(T::Compute::ZERO);
            while class < end {
                let z = numbers.add(class * pitch);
                S::prefetch(ahead.first.wrapping_add(class * ahead.stride));
                let e = exp(T::Vector::<S>::load(z).sub(max));
                e.store(z);
                group = group.add(e);
                class += 1;
            }
            total = total.add(group);
        }
        total.store(sum);
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "as its caller")]
unsafe fn write_gradient_in<S: Simd, T: Packed>(
    tile: &Tile,
    next: Option<&Tile>,
    logits: *const T,
    scratch: &mut Scratch,
    batch: &Batch,
    source: Source,
    output: *mut T,
    stream: bool,
) {
    let lanes = T::Vector::<S>::LANES;
    let (pitch, chunk, rows) = (tile.pitch(), tile.chunk(size_of::<T::Compute>()), tile.rows());
    let numbers = scratch.numbers.as_mut_ptr().cast::<T::Compute>();
    let staged = scratch.staged.as_mut_ptr().cast::<T::Compute>();
    let first = scratch.first.as_mut_ptr().cast::<T::Compute>();
    let second = scratch.second.as_mut_ptr().cast::<T::Compute>();
    let factors = scratch.factors.as_mut_ptr().cast::<T::Compute>();
    let padded = rows.next_multiple_of(lanes);
    // SAFETY: the caller's; the scratch area holds `chunk` classes of `pitch` rows, the columns `rows` numbers.
    unsafe {
        for row in rows..padded {
            first.add(row).write(T::Compute::ZERO);
            second.add(row).write(T::Compute::ZERO);
            factors.add(row).write(T::Compute::ZERO);
        }
        let (label_logits, margins) = (batch.label_logits(), batch.margin_losses());
        let (references, sums, slopes) = (batch.references(), batch.sums(), batch.slopes());
        let classes = batch.classes();
        // what an ignored row holds may be no number
        let counted = |row: usize, factor: f64| if classes[row] == IGNORED { 0.0 } else { factor };
        if source == Source::Margins {
            for row in 0..rows {
                first.add(row).write(T::Compute::from_f64(label_logits[row]));
                second.add(row).write(T::Compute::from_f64(margins[row]));
                factors.add(row).write(T::Compute::from_f64(counted(row, slopes[row])));
            }
        } else {
            for row in 0..rows {
                first.add(row).write(T::Compute::from_f64(references[row]));
                second.add(row).write(T::Compute::ZERO);
                factors.add(row).write(T::Compute::from_f64(counted(row, slopes[row] / sums[row])));
            }
        }
        let mut start = 0;
        while start < tile.classes {
            let end = (start + chunk).min(tile.classes);
            if source != Source::Exponentials {
                load::<S, T>(tile, logits, start, end, numbers, staged);
                for class in 0..end - start {
                    for row in (0..padded).step_by(lanes) {
                        let ahead = ahead(tile, next, logits, start, row);
                        S::prefetch(ahead.first.wrapping_add(class * ahead.stride));
                        let z = numbers.add(class * pitch + row);
                        let d = T::Vector::<S>::load(z).sub(T::Vector::<S>::load(first.add(row)));
                        exp(d.sub(T::Vector::<S>::load(second.add(row)))).store(z);
                    }
                }
            }
            for row in 0..rows {
                let class = classes[row];
                if class.wrapping_sub(start) < end - start {
                    // times the factor this is minus the slope
                    let share = if source == Source::Margins { -1.0 } else { -sums[row] };
                    numbers.add((class - start) * pitch + row).write(T::Compute::from_f64(share));
                }
            }
            store::<S, T>(tile, numbers, factors, start, end, staged, output, stream);
            start = end;
        }
    }
}

/// Loads classes `start..end`, in the type computed in, rows side by side.
///
/// # Safety
/// As [`statistics`]; `numbers` and `staged` are those of a [`Scratch`].
#[inline(always)]
pub unsafe fn load<S: Simd, T: Packed>(
    tile: &Tile,
    logits: *const T,
    start: usize,
    end: usize,
    numbers: *mut T::Compute,
    staged: *mut T::Compute,
) {
    let lanes = T::Vector::<S>::LANES;
    let (pitch, rows) = (tile.pitch(), tile.rows());
    // SAFETY: the caller's.
    unsafe {
        if rows % lanes != 0 {
            // lanes without a row compute with numbers, too
            for class in 0..end - start {
                for row in rows..rows.next_multiple_of(lanes) {
                    numbers.add(class * pitch + row).write(T::Compute::ZERO);
                }
            }
        }
        if tile.run >= lanes {
            for class in start..end {
                for b in 0..tile.batches {
                    let to = numbers.add((class - start) * pitch + b * tile.run);
                    widen::<S, T>(logits.add(tile.index(b, class)), to, tile.run);
                }
            }
            return;
        }
        let group = tile.entries_staged(start, end);
        let mut b = 0;
        while b < tile.batches {
            let entries = group.min(tile.batches - b);
            let from = logits.add(tile.index(b, start));
            let count = entries * (end - start) * tile.run;
            let mut done = 0;
            while done < count {
                let some = STAGED.min(count - done);
                widen::<S, T>(from.add(done), staged, some);
                let mut places = tile.places(numbers, b, done);
                for i in 0..some {
                    places.next(tile).write(staged.add(i).read());
                }
                done += some;
            }
            b += entries;
        }
    }
}

/// Writes factor · number of classes `start..end`, and 0 where the factor is 0.
///
/// # Safety
/// As [`load`].
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "a tile in the scratch area and where it goes")]
pub unsafe fn store<S: Simd, T: Packed>(
    tile: &Tile,
    numbers: *mut T::Compute,
    factors: *const T::Compute,
    start: usize,
    end: usize,
    staged: *mut T::Compute,
    output: *mut T,
    stream: bool,
) {
    let lanes = T::Vector::<S>::LANES;
    let (pitch, rows) = (tile.pitch(), tile.rows());
    // SAFETY: the caller's.
    unsafe {
        for class in 0..end - start {
            let numbers = numbers.add(class * pitch);
            for row in (0..rows.next_multiple_of(lanes)).step_by(lanes) {
                let factor = T::Vector::<S>::load(factors.add(row));
                let product = factor.mul(T::Vector::<S>::load(numbers.add(row)));
                let zero = T::Vector::<S>::splat(T::Compute::ZERO);
                factor.if_equal(zero, zero, product).store(numbers.add(row));
            }
            if tile.run >= lanes {
                for b in 0..tile.batches {
                    let to = output.add(tile.index(b, start + class));
                    narrow::<S, T>(numbers.add(b * tile.run), to, tile.run, stream);
                }
            }
        }
        if tile.run >= lanes {
            return;
        }
        let group = tile.entries_staged(start, end);
        let mut b = 0;
        while b < tile.batches {
            let entries = group.min(tile.batches - b);
            let to = output.add(tile.index(b, start));
            let count = entries * (end - start) * tile.run;
            let mut done = 0;
            while done < count {
                let some = STAGED.min(count - done);
                let mut places = tile.places(numbers, b, done);
                for i in 0..some {
                    staged.add(i).write(places.next(tile).read());
                }
                narrow::<S, T>(staged, to.add(done), some, stream);
                done += some;
            }
            b += entries;
        }
    }
}

/// Loads `count` numbers.
///
/// # Safety
/// As [`Vector`].
#[inline(always)]
pub unsafe fn widen<S: Simd, T: Packed>(from: *const T, to: *mut T::Compute, count: usize) {
    let lanes = T::Vector::<S>::LANES;
    // SAFETY: the caller's; all bits zero is 0 in every type of logits.
    unsafe {
        if count < lanes {
            let mut few = MaybeUninit::<[T; MOST_LANES]>::zeroed();
            std::ptr::copy_nonoverlapping(from, few.as_mut_ptr().cast(), count);
            let wide = T::load::<S>(few.as_ptr().cast()).to_array();
            return std::ptr::copy_nonoverlapping(wide.as_ptr(), to, count);
        }
        let mut at = 0;
        while at + lanes <= count {
            T::load::<S>(from.add(at)).store(to.add(at));
            at += lanes;
        }
        if at < count {
            T::load::<S>(from.add(count - lanes)).store(to.add(count - lanes));
        }
    }
}

/// Stores `count` numbers.
///
/// # Safety
/// As [`Vector`].
#[inline(always)]
unsafe fn narrow<S: Simd, T: Packed>(from: *const T::Compute, to: *mut T, count: usize, stream: bool) {
    let lanes = T::Vector::<S>::LANES;
    // SAFETY: the caller's; all bits zero is 0 in every type of logits.
    unsafe {
        if count < lanes {
            let mut few = MaybeUninit::<[T; MOST_LANES]>::zeroed();
            let mut wide = [T::Compute::ZERO; MOST_LANES];
            std::ptr::copy_nonoverlapping(from, wide.as_mut_ptr(), count);
            T::store::<S>(T::Vector::<S>::load(wide.as_ptr()), few.as_mut_ptr().cast());
            return std::ptr::copy_nonoverlapping(few.as_ptr().cast(), to, count);
        }
        let mut at = 0;
        if stream {
            T::store::<S>(T::Vector::<S>::load(from), to);
            at = unaligned::<S, T>(to);
            while at + lanes <= count {
                T::stream::<S>(T::Vector::<S>::load(from.add(at)), to.add(at));
                at += lanes;
            }
        } else {
            while at + lanes <= count {
                T::store::<S>(T::Vector::<S>::load(from.add(at)), to.add(at));
                at += lanes;
            }
        }
        if at < count {
            let at = count - lanes;
            T::store::<S>(T::Vector::<S>::load(from.add(at)), to.add(at));
        }
    }
}
