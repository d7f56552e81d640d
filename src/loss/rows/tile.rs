//! Many rows at once, a lane for each: for class axes with a stride (segmentation, sequences) and for few classes.
//!
//! A tile is loaded class by class into a scratch area in the type computed in, where the rows lie side by side.
//! Logits [N, C, d…] with a long inner axis are loaded in runs along that axis; where that axis is short (or there is
//! none), some entries of the batch make a tile and are transposed on the way in and out. More classes than fit the
//! scratch area come in chunks, and a second time for the gradient.

use std::mem::MaybeUninit;

use super::batch::{Batch, MOST_ROWS};
use super::contiguous::{copy_few, whole_lines};
use super::exp::exp;
use super::isa::{Isa, with_isa};
use super::simd::{MOST_LANES, Packed, Simd, Vector};
use crate::loss::element::{Arithmetic, Real};

/// A part of the second cache of the machines we know, and little enough for the stack of a thread.
pub const SCRATCH_BYTES: usize = 64 * 1024;
/// Numbers that are transposed at a time.
pub const STAGED: usize = 1024;
/// Runs between the one that is fetched and the one that is loaded: they lie too far apart for the machine to see them
/// coming, and so that more of them would displace each other in the caches.
const RUNS_AHEAD: usize = 4;
/// Terms that are added up in one register before they go to a second one: keeps f32 sums of many terms exact.
const GROUP: usize = 16;

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

/// Numbers that lie side by side in the logits and are transposed together: whole batch entries, or some classes of one.
struct Piece {
    batch: usize,
    entries: usize,
    start: usize,
    end: usize,
}

impl Piece {
    fn len(&self, tile: &Tile) -> usize {
        self.entries * (self.end - self.start) * tile.run
    }

    /// From the order of the logits into that of the scratch area, whose first class is `first`.
    ///
    /// # Safety
    /// `staged` holds the piece, the scratch area its classes.
    #[inline(never)]
    unsafe fn scatter<R: Copy>(&self, tile: &Tile, first: usize, staged: *const R, numbers: *mut R) {
        let (staged, pitch) = (staged.cast_mut(), tile.pitch());
        // SAFETY: the caller's.
        unsafe {
            match tile.run {
                1 => self.each(1, pitch, first, staged, numbers, |from, to| to.write(from.read())),
                run => self.each(run, pitch, first, staged, numbers, |from, to| to.write(from.read())),
            }
        }
    }

    /// The other way round.
    ///
    /// # Safety
    /// As [`Piece::scatter`].
    #[inline(never)]
    unsafe fn gather<R: Copy>(&self, tile: &Tile, first: usize, numbers: *const R, staged: *mut R) {
        let (numbers, pitch) = (numbers.cast_mut(), tile.pitch());
        // SAFETY: the caller's.
        unsafe {
            match tile.run {
                1 => self.each(1, pitch, first, staged, numbers, |to, from| to.write(from.read())),
                run => self.each(run, pitch, first, staged, numbers, |to, from| to.write(from.read())),
            }
        }
    }

    /// Each number's places in both orders.
    ///
    /// # Safety
    /// As [`Piece::scatter`].
    #[inline(always)]
    unsafe fn each<R: Copy>(
        &self,
        run: usize,
        pitch: usize,
        first: usize,
        mut staged: *mut R,
        numbers: *mut R,
        copy: impl Fn(*mut R, *mut R),
    ) {
        let (start, end) = (self.start - first, self.end - first);
        for entry in self.batch..self.batch + self.entries {
            let mut number = numbers.wrapping_add(start * pitch + entry * run);
            for _ in start..end {
                for i in 0..run {
                    copy(staged.wrapping_add(i), number.wrapping_add(i));
                }
                staged = staged.wrapping_add(run);
                number = number.wrapping_add(pitch);
            }
        }
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

    /// The `index`th piece of classes `start..end`.
    fn piece(&self, start: usize, end: usize, index: usize) -> Option<Piece> {
        let classes = (STAGED / self.run).min(end - start);
        // entries are neighbours where all of their classes are wanted
        let entries = if classes == self.classes { (STAGED / (classes * self.run)).max(1) } else { 1 };
        let per_entry = (end - start).div_ceil(classes);
        let (batch, start) = (index / per_entry * entries, start + index % per_entry * classes);
        (batch < self.batches).then(|| Piece {
            batch,
            entries: entries.min(self.batches - batch),
            start,
            end: (start + classes).min(end),
        })
    }

    /// Index in the logits of what is loaded after the classes of this tile, too: those of the next one. Without one,
    /// some index.
    fn index_ahead(&self, next: Option<&Tile>, class: usize) -> usize {
        match next {
            _ if class < self.classes => self.index(0, class),
            Some(next) => next.index(0, (class - self.classes).min(next.classes - 1)),
            None => self.index(0, self.classes - 1),
        }
    }

    /// Index in the logits of a class of a batch entry's first row.
    fn index(&self, batch: usize, class: usize) -> usize {
        ((self.batch_start + batch) * self.classes + class) * self.inner + self.inner_start
    }
}

with_isa! {
    /// Loads classes `start..end`, in the type computed in, rows side by side.
    ///
    /// # Safety
    /// The instruction set is available; the tile lies within the logits; `numbers` and `staged` are those of a
    /// [`Scratch`].
    fn load<T: Packed>(
        tile: &Tile, next: Option<&Tile>, logits: *const T, start: usize, end: usize, numbers: *mut T::Compute,
        staged: *mut T::Compute
    ) = load_in;
    /// Writes factor · number of classes `start..end`, and 0 where the factor is 0.
    ///
    /// # Safety
    /// As [`load`], and for the output too.
    fn store<T: Packed>(
        tile: &Tile, numbers: *mut T::Compute, factors: *const T::Compute, start: usize, end: usize,
        staged: *mut T::Compute, output: *mut T, stream: bool
    ) = store_in;
    /// Of `classes` classes in the scratch area: the largest logit of each row from `references` on, which are updated,
    /// exp(z − reference) in place of the logits, and the sums of those.
    ///
    /// # Safety
    /// As [`load`].
    fn sum<T: Packed>(
        tile: &Tile, ahead: Ahead, classes: usize, numbers: *mut T::Compute, references: *mut T::Compute,
        sums: *mut T::Compute
    ) = sum_in;
    /// exp((z − first) − second) in place of `classes` classes.
    ///
    /// # Safety
    /// As [`load`].
    fn exponentials<T: Packed>(
        tile: &Tile, ahead: Ahead, classes: usize, numbers: *mut T::Compute, first: *const T::Compute,
        second: *const T::Compute
    ) = exponentials_in;
}

/// References and sums of all rows, and their label logits; rows that are ignored get some numbers.
///
/// # Safety
/// The instruction set is available; the tile lies within the logits.
pub unsafe fn statistics<T: Packed>(
    isa: Isa,
    tile: &Tile,
    next: Option<&Tile>,
    logits: *const T,
    scratch: &mut Scratch,
    batch: &mut Batch,
) {
    let (pitch, chunk, rows) = (tile.pitch(), tile.chunk(size_of::<T::Compute>()), tile.rows());
    let numbers = scratch.numbers.as_mut_ptr().cast::<T::Compute>();
    let staged = scratch.staged.as_mut_ptr().cast::<T::Compute>();
    let references = scratch.first.as_mut_ptr().cast::<T::Compute>();
    let sums = scratch.second.as_mut_ptr().cast::<T::Compute>();
    // SAFETY: the caller's; the scratch area holds `chunk` classes of `pitch` rows, its columns `pitch` numbers.
    unsafe {
        for row in 0..pitch.min(MOST_ROWS + MOST_LANES) {
            references.add(row).write(T::Compute::from_f64(-1e30));
        }
        let mut start = 0;
        while start < tile.classes {
            let end = (start + chunk).min(tile.classes);
            load::<T>(isa, tile, next, logits, start, end, numbers, staged);
            take_labels::<T>(numbers, pitch, start, end, batch);
            let ahead = ahead(tile, next, logits, start);
            sum::<T::Compute>(isa, tile, ahead, end - start, numbers, references, sums);
            let (all_references, all_sums) = batch.statistics_mut();
            for row in 0..rows {
                let (reference, sum) = (references.add(row).read().to_f64(), sums.add(row).read().to_f64());
                if start > 0 {
                    let before = all_sums[row] * (all_references[row] - reference).exp();
                    (all_references[row], all_sums[row]) = (reference, before + sum);
                } else {
                    (all_references[row], all_sums[row]) = (reference, sum);
                }
            }
            start = end;
        }
    }
}

/// The label logits among classes `start..end`, with −∞ left in their place.
///
/// # Safety
/// As [`load`]; the classes are in the scratch area.
#[inline(always)]
unsafe fn take_labels<T: Packed>(numbers: *mut T::Compute, pitch: usize, start: usize, end: usize, batch: &mut Batch) {
    let (classes, label_logits) = batch.labels_mut();
    for (row, (class, label_logit)) in classes.iter().zip(label_logits).enumerate() {
        let class = class.wrapping_sub(start);
        if class < end - start {
            // SAFETY: the caller's.
            unsafe {
                let z = numbers.add(class * pitch + row);
                *label_logit = z.read().to_f64();
                z.write(T::Compute::NEG_INFINITY);
            }
        }
    }
}

/// The gradient of all rows.
///
/// # Safety
/// As [`statistics`], and for the output too.
#[allow(clippy::too_many_arguments, reason = "a tile, what is known of it, and where it goes")]
pub unsafe fn write_gradient<T: Packed>(
    isa: Isa,
    tile: &Tile,
    next: Option<&Tile>,
    logits: *const T,
    scratch: &mut Scratch,
    batch: &Batch,
    source: Source,
    output: *mut T,
    stream: bool,
) {
    let (pitch, chunk) = (tile.pitch(), tile.chunk(size_of::<T::Compute>()));
    let numbers = scratch.numbers.as_mut_ptr().cast::<T::Compute>();
    let staged = scratch.staged.as_mut_ptr().cast::<T::Compute>();
    let first = scratch.first.as_mut_ptr().cast::<T::Compute>();
    let second = scratch.second.as_mut_ptr().cast::<T::Compute>();
    let factors = scratch.factors.as_mut_ptr().cast::<T::Compute>();
    // SAFETY: the caller's; the scratch area holds `chunk` classes of `pitch` rows, its columns `pitch` numbers.
    unsafe {
        fill_columns::<T::Compute>(tile, batch, source, first, second, factors);
        let mut start = 0;
        while start < tile.classes {
            let end = (start + chunk).min(tile.classes);
            if source != Source::Exponentials {
                load::<T>(isa, tile, next, logits, start, end, numbers, staged);
                let ahead = ahead(tile, next, logits, start);
                exponentials::<T::Compute>(isa, tile, ahead, end - start, numbers, first, second);
            }
            for (row, (class, sum)) in batch.classes().iter().zip(batch.sums()).enumerate() {
                let class = class.wrapping_sub(start);
                if class < end - start {
                    // times the factor this is minus the slope
                    let share = if source == Source::Margins { -1.0 } else { -sum };
                    numbers.add(class * pitch + row).write(T::Compute::from_f64(share));
                }
            }
            store::<T>(isa, tile, numbers, factors, start, end, staged, output, stream);
            start = end;
        }
    }
}

/// Per row: what to take from the logits, twice, and the factor of the gradient.
///
/// # Safety
/// The columns are those of a [`Scratch`].
unsafe fn fill_columns<R: Real>(
    tile: &Tile,
    batch: &Batch,
    source: Source,
    first: *mut R,
    second: *mut R,
    factors: *mut R,
) {
    let rows = tile.rows();
    // SAFETY: the caller's.
    unsafe {
        for row in rows..rows.next_multiple_of(MOST_LANES) {
            first.add(row).write(R::ZERO);
            second.add(row).write(R::ZERO);
            factors.add(row).write(R::ZERO);
        }
        if source == Source::Margins {
            for row in 0..rows {
                first.add(row).write(R::from_f64(batch.label_logits()[row]));
                second.add(row).write(R::from_f64(batch.margin_losses()[row]));
                factors.add(row).write(R::from_f64(batch.slopes()[row]));
            }
        } else {
            for row in 0..rows {
                first.add(row).write(R::from_f64(batch.references()[row]));
                second.add(row).write(R::ZERO);
                factors.add(row).write(R::from_f64(batch.slopes()[row] / batch.sums()[row]));
            }
        }
    }
}

/// What of the next tile lies where this one does.
#[derive(Clone, Copy, Debug)]
pub struct Ahead {
    first: *const u8,
    class_bytes: usize,
    row_bytes: usize,
}

/// The next tile is fetched while this one is computed with: its runs lie too far apart for the machine to see them
/// coming. Without a next tile, or where tiles lie in one piece, this gives what has been read already.
fn ahead<T>(tile: &Tile, next: Option<&Tile>, logits: *const T, class: usize) -> Ahead {
    let of = |tile: &Tile| logits.wrapping_add(tile.index(0, class)).cast();
    match next {
        Some(next) if tile.run > MOST_LANES => {
            Ahead { first: of(next), class_bytes: tile.inner * size_of::<T>(), row_bytes: size_of::<T>() }
        }
        _ => Ahead { first: of(tile), class_bytes: 0, row_bytes: 0 },
    }
}

#[inline(always)]
unsafe fn sum_in<S: Simd, T: Packed>(
    tile: &Tile,
    ahead: Ahead,
    classes: usize,
    numbers: *mut T::Compute,
    references: *mut T::Compute,
    sums: *mut T::Compute,
) {
    let (pitch, class_bytes) = (tile.pitch(), ahead.class_bytes);
    let mut row = 0;
    while row < tile.rows() {
        let ahead = ahead.first.wrapping_add(row * ahead.row_bytes);
        // SAFETY: the caller's.
        unsafe {
            let mut max = T::Vector::<S>::load(references.add(row));
            for class in 0..classes {
                max = T::Vector::<S>::load(numbers.add(class * pitch + row)).max(max);
            }
            max.store(references.add(row));
            let mut total = T::Vector::<S>::splat(T::Compute::ZERO);
            let mut class = 0;
            while class < classes {
                let end = (class + GROUP).min(classes);
                let mut group = T::Vector::<S>::splat(T::Compute::ZERO);
                while class < end {
                    S::prefetch(ahead.wrapping_add(class * class_bytes));
                    let z = numbers.add(class * pitch + row);
                    let e = exp(T::Vector::<S>::load(z).sub(max));
                    e.store(z);
                    group = group.add(e);
                    class += 1;
                }
                total = total.add(group);
            }
            total.store(sums.add(row));
        }
        row += T::Vector::<S>::LANES;
    }
}

#[inline(always)]
unsafe fn exponentials_in<S: Simd, T: Packed>(
    tile: &Tile,
    ahead: Ahead,
    classes: usize,
    numbers: *mut T::Compute,
    first: *const T::Compute,
    second: *const T::Compute,
) {
    let pitch = tile.pitch();
    for class in 0..classes {
        let mut row = 0;
        while row < tile.rows() {
            // SAFETY: the caller's.
            unsafe {
                S::prefetch(ahead.first.wrapping_add(class * ahead.class_bytes + row * ahead.row_bytes));
                let z = numbers.add(class * pitch + row);
                let d = T::Vector::<S>::load(z).sub(T::Vector::<S>::load(first.add(row)));
                exp(d.sub(T::Vector::<S>::load(second.add(row)))).store(z);
            }
            row += T::Vector::<S>::LANES;
        }
    }
}

#[inline(always)]
unsafe fn load_in<S: Simd, T: Packed>(
    tile: &Tile,
    next: Option<&Tile>,
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
                let ahead = logits.wrapping_add(tile.index_ahead(next, class + RUNS_AHEAD));
                for b in 0..tile.batches {
                    let to = numbers.add((class - start) * pitch + b * tile.run);
                    widen::<S, T>(logits.add(tile.index(b, class)), to, tile.run, ahead.wrapping_add(b * tile.run));
                }
            }
            return;
        }
        let mut pieces = 0;
        while let Some(piece) = tile.piece(start, end, pieces) {
            let from = logits.add(tile.index(piece.batch, piece.start));
            widen::<S, T>(from, staged, piece.len(tile), from);
            piece.scatter(tile, start, staged, numbers);
            pieces += 1;
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "a tile in the scratch area and where it goes")]
unsafe fn store_in<S: Simd, T: Packed>(
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
    // SAFETY: the caller's.
    unsafe {
        if tile.run >= lanes {
            for class in start..end {
                for b in 0..tile.batches {
                    let from = numbers.add((class - start) * tile.pitch() + b * tile.run);
                    let (factors, to) = (factors.add(b * tile.run), output.add(tile.index(b, class)));
                    narrow::<S, T, true>(from, factors, to, tile.run, stream);
                }
            }
            return;
        }
        for class in 0..end - start {
            let mut row = 0;
            while row < tile.rows() {
                let number = numbers.add(class * tile.pitch() + row);
                scaled::<S, T, true>(number, factors.add(row)).store(number);
                row += lanes;
            }
        }
        let mut pieces = 0;
        while let Some(piece) = tile.piece(start, end, pieces) {
            piece.gather(tile, start, numbers, staged);
            let to = output.add(tile.index(piece.batch, piece.start));
            narrow::<S, T, false>(staged, staged, to, piece.len(tile), stream);
            pieces += 1;
        }
    }
}

/// Loads `count` numbers.
///
/// # Safety
/// As [`Vector`].
#[inline(always)]
unsafe fn widen<S: Simd, T: Packed>(from: *const T, to: *mut T::Compute, count: usize, ahead: *const T) {
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
            S::prefetch(ahead.wrapping_add(at));
            T::load::<S>(from.add(at)).store(to.add(at));
            at += lanes;
        }
        if at < count {
            T::load::<S>(from.add(count - lanes)).store(to.add(count - lanes));
        }
    }
}

/// factor · number if `SCALE`, and 0 where the factor is 0: what an ignored row holds may be no number.
///
/// # Safety
/// As [`Vector`].
#[inline(always)]
unsafe fn scaled<S: Simd, T: Packed, const SCALE: bool>(
    numbers: *const T::Compute,
    factors: *const T::Compute,
) -> T::Vector<S> {
    // SAFETY: the caller's.
    unsafe {
        let number = T::Vector::<S>::load(numbers);
        if !SCALE {
            return number;
        }
        let (factor, zero) = (T::Vector::<S>::load(factors), T::Vector::<S>::splat(T::Compute::ZERO));
        factor.if_equal(zero, zero, factor.mul(number))
    }
}

/// Stores `count` numbers, each times its factor if `SCALE`.
///
/// # Safety
/// As [`Vector`].
#[inline(always)]
unsafe fn narrow<S: Simd, T: Packed, const SCALE: bool>(
    from: *const T::Compute,
    factors: *const T::Compute,
    to: *mut T,
    count: usize,
    stream: bool,
) {
    let lanes = T::Vector::<S>::LANES;
    // SAFETY: the caller's.
    unsafe {
        let whole = if stream { whole_lines(to, count) } else { 0..0 };
        let mut at = whole.start;
        while at < whole.end {
            T::stream::<S>(scaled::<S, T, SCALE>(from.add(at), factors.add(at)), to.add(at));
            at += lanes;
        }
        for (mut at, end) in [(0, whole.start), (whole.end, count)] {
            while at + lanes <= end {
                T::store::<S>(scaled::<S, T, SCALE>(from.add(at), factors.add(at)), to.add(at));
                at += lanes;
            }
            narrow_few::<S, T, SCALE>(from.add(at), factors.add(at), to.add(at), end - at);
        }
    }
}

/// [`narrow`] for fewer numbers than a register has.
///
/// # Safety
/// As [`Vector`].
#[inline(always)]
unsafe fn narrow_few<S: Simd, T: Packed, const SCALE: bool>(
    from: *const T::Compute,
    factors: *const T::Compute,
    to: *mut T,
    count: usize,
) {
    if count == 0 {
        return;
    }
    let (mut numbers, mut multipliers) = ([T::Compute::ZERO; MOST_LANES], [T::Compute::ZERO; MOST_LANES]);
    let mut few = MaybeUninit::<[T; MOST_LANES]>::uninit();
    // SAFETY: the caller's; the arrays hold a register.
    unsafe {
        copy_few(from, numbers.as_mut_ptr(), count);
        if SCALE {
            copy_few(factors, multipliers.as_mut_ptr(), count);
        }
        T::store::<S>(scaled::<S, T, SCALE>(numbers.as_ptr(), multipliers.as_ptr()), few.as_mut_ptr().cast());
        copy_few(few.as_ptr().cast(), to, count);
    }
}
