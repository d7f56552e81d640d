//! Tiles: a lane for each row.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::super::batch::{IGNORED, MOST_ROWS};
use super::super::run::{Job, Layout};
use super::super::simd::{MOST_LANES, Packed};
use super::super::tile::{self, SCRATCH_BYTES, STAGED, Tile};
use super::super::{Partial, Problem};
use super::curve::{Curve, LARGEST};
use super::facts::Smoothing;
use super::lanes::{self, Block, Columns};
use super::{FEW_CLASSES, Rows};
use crate::loss::element::{Arithmetic, Element, Real};
use crate::loss::error::LossError;

/// Numbers of a column, and between the starts of two.
const COLUMN: usize = MOST_ROWS + MOST_LANES;
/// A tile has at least one register of rows.
const MOST_CLASSES: usize = SCRATCH_BYTES / size_of::<f32>() / MOST_LANES;
/// Single precision counts up to here.
const LARGEST_INDEX: usize = 1 << 24;

/// Room for a tile, in numbers of at most 8 bytes.
#[repr(align(64))]
struct Room {
    numbers: MaybeUninit<[u8; SCRATCH_BYTES]>,
    staged: MaybeUninit<[u64; STAGED + MOST_LANES]>,
    /// Few classes, where they are computed with in another type than they are loaded in.
    wide: MaybeUninit<[u64; FEW_CLASSES * (COLUMN + MOST_LANES)]>,
    weights: MaybeUninit<[u64; MOST_CLASSES]>,
    columns: MaybeUninit<[u64; Columns::<f64>::COUNT * COLUMN]>,
    /// 1 for rows that count, else 0.
    counted: MaybeUninit<[u64; COLUMN]>,
}

/// A tile in the scratch area and what is computed with it.
struct Work<R> {
    tile: Tile,
    /// The one after it.
    next: Option<Tile>,
    columns: Columns<R>,
    curve: Curve<R>,
    /// Classes at a time.
    chunk: usize,
}

impl<T: Element> Problem<'_, T> {
    /// `R` is the type computed in.
    // its room is on the stack, and a page of that costs the smallest calls some nanoseconds: never in a caller's frame
    #[inline(never)]
    pub(super) fn run_smooth_tiles<R: Real + Packed<Compute = R>>(
        &self,
        units: Range<usize>,
        layout: &Layout,
        job: &Job<'_, T>,
        smoothing: &Smoothing,
    ) -> Result<Partial, LossError> {
        let classes = self.shape.classes();
        let mut room = Room {
            numbers: MaybeUninit::uninit(),
            staged: MaybeUninit::uninit(),
            wide: MaybeUninit::uninit(),
            weights: MaybeUninit::uninit(),
            columns: MaybeUninit::uninit(),
            counted: MaybeUninit::uninit(),
        };
        let mut rows = Rows::new();
        let mut partial = Partial::default();
        // SAFETY: the room holds all columns.
        let columns = unsafe { Columns::new(room.columns.as_mut_ptr().cast::<R>(), COLUMN) };
        let smallest = if size_of::<R>() == 4 { 1e-30 } else { 1e-290 };
        for unit in units.clone() {
            let Some(tile) = layout.tile(unit, classes) else { continue };
            let next = if unit + 1 < units.end { layout.tile(unit + 1, classes) } else { None };
            let start = tile.batch_start * self.shape.inner() + tile.inner_start;
            self.begin_smooth(&mut rows, start..start + tile.rows(), job)?;
            if rows.batch.some_ignored && rows.batch.classes().iter().all(|&class| class == IGNORED) {
                rows.regular = false;
                self.finish_smooth(&mut rows, job, smallest, &mut partial);
                if let Some(gradient) = &job.gradient {
                    self.clear_tile(&tile, gradient);
                }
                continue;
            }
            if classes >= LARGEST_INDEX {
                // all rows by the exact path
                rows.batch.sums_mut().fill(f64::NAN);
                rows.regular = false;
                if let Some(gradient) = &job.gradient {
                    self.clear_tile(&tile, gradient);
                }
                self.finish_smooth(&mut rows, job, smallest, &mut partial);
                continue;
            }
            let chunk = tile.chunk(size_of::<T::Compute>());
            let work = Work { tile, next, columns, curve: Curve::new(&self.loss), chunk };
            self.sum_tile(&work, &mut rows, &mut room);
            self.label_facts(&mut rows);
            self.tile_bonuses(&work, &mut rows, &mut room);
            self.resolve(&mut rows, smoothing, smallest);
            if job.gradient.is_some() {
                self.write_smooth_tile(&work, &rows, smoothing, job, &mut room);
            }
            self.finish_smooth(&mut rows, job, smallest, &mut partial);
        }
        Ok(partial)
    }

    /// Classes from `start` on in the scratch area, where they are not there already.
    fn block<R: Real>(&self, work: &Work<R>, start: usize, load: bool, room: &mut Room) -> Block<R> {
        let Work { tile, curve, chunk, .. } = work;
        let end = (start + chunk).min(tile.classes);
        let pitch = tile.pitch();
        let numbers = room.numbers.as_mut_ptr().cast::<T::Compute>();
        let wide = size_of::<R>() > size_of::<T::Compute>();
        let weights = room.weights.as_mut_ptr().cast::<R>();
        let mut block = Block {
            numbers: numbers.cast(),
            pitch,
            classes: end - start,
            rows: tile.rows(),
            first: start,
            weights,
            weighted: self.class_weights.is_some(),
            curve: *curve,
        };
        if wide {
            block.numbers = room.wide.as_mut_ptr().cast();
        }
        if !load {
            return block;
        }
        // SAFETY: the tile lies within the logits; the scratch area holds `chunk` classes.
        unsafe {
            for class in start..end {
                weights.add(class - start).write(R::from_f64(self.class_weight(class)));
            }
            let staged = room.staged.as_mut_ptr().cast::<T::Compute>();
            tile::load::<T>(self.isa, tile, work.next.as_ref(), self.logits.as_ptr(), start, end, numbers, staged);
            if wide {
                for class in 0..end - start {
                    for row in 0..tile.rows().next_multiple_of(MOST_LANES) {
                        let at = class * pitch + row;
                        let z = if row < tile.rows() { numbers.add(at).read().to_f64() } else { 0.0 };
                        block.numbers.add(at).write(R::from_f64(z));
                    }
                }
            }
        }
        block
    }

    /// Statistics of all rows.
    fn sum_tile<R: Real + Packed<Compute = R>>(&self, work: &Work<R>, rows: &mut Rows, room: &mut Room) {
        let Work { tile, columns, chunk, .. } = work;
        let Rows { batch, facts, .. } = rows;
        let n = tile.rows();
        // SAFETY: columns hold all rows of the tile, and a register more.
        unsafe {
            for row in 0..n.next_multiple_of(MOST_LANES) {
                columns.references.add(row).write(R::from_f64(-1e30));
                columns.label_logits.add(row).write(R::ZERO);
            }
            for (row, &class) in batch.classes().iter().enumerate() {
                // IGNORED is −1
                columns.labels.add(row).write(R::from_f64(f64::from(class as i32)));
            }
            for row in n..n.next_multiple_of(MOST_LANES) {
                columns.labels.add(row).write(R::from_f64(-1.0));
            }
            let mut weight = 0.0;
            for start in (0..tile.classes).step_by(*chunk) {
                let block = self.block(work, start, true, room);
                lanes::sums::<R>(self.isa, &block, columns);
                if block.classes == tile.classes {
                    lanes::to_f64::<R>(self.isa, columns.references, batch.references.pointer_mut(), n);
                    lanes::to_f64::<R>(self.isa, columns.sums, batch.sums.pointer_mut(), n);
                    lanes::to_f64::<R>(self.isa, columns.distances, facts.distances.pointer_mut(), n);
                    break;
                }
                for row in 0..n {
                    let reference = columns.references.add(row).read().to_f64();
                    let mut sum = columns.sums.add(row).read().to_f64();
                    let mut distance = columns.distances.add(row).read().to_f64();
                    if start > 0 {
                        let by = reference - batch.references()[row];
                        let label = if batch.classes()[row] < start { batch.weights()[row] } else { 0.0 };
                        sum += batch.sums()[row] * (-by).exp();
                        distance += facts.distances()[row] - (weight - label) * by;
                    }
                    batch.references_mut()[row] = reference;
                    batch.sums_mut()[row] = sum;
                    facts.distances_mut()[row] = distance;
                }
                weight += (start..start + block.classes).map(|class| self.class_weight(class)).sum::<f64>();
            }
            lanes::to_f64::<R>(self.isa, columns.label_logits, batch.label_logits.pointer_mut(), n);
        }
    }

    /// The bonus of all classes but label and top class.
    fn tile_bonuses<R: Real + Packed<Compute = R>>(&self, work: &Work<R>, rows: &mut Rows, room: &mut Room) {
        let Work { tile, columns, chunk, .. } = work;
        let facts = &mut rows.facts;
        let n = tile.rows();
        // SAFETY: columns hold all rows of the tile, and a register more.
        unsafe {
            lanes::from_f64::<R>(self.isa, facts.inverses.pointer(), columns.inverses, n);
            lanes::from_f64::<R>(self.isa, facts.log_sums.pointer(), columns.log_sums, n);
            for (row, top) in facts.tops_mut().iter_mut().enumerate() {
                // the largest exponential is exactly 1
                let is_top = columns.inverses.add(row).read() > R::from_f64(LARGEST);
                *top = f64::from(u8::from(is_top));
            }
            for row in n..n.next_multiple_of(MOST_LANES) {
                columns.inverses.add(row).write(R::ZERO);
                columns.log_sums.add(row).write(R::ZERO);
            }
            for start in (0..tile.classes).step_by(*chunk) {
                let block = self.block_again(work, start, room);
                lanes::bonuses::<R>(self.isa, &block, columns);
                if block.classes == tile.classes {
                    lanes::to_f64::<R>(self.isa, columns.rests, facts.rests.pointer_mut(), n);
                    lanes::to_f64::<R>(self.isa, columns.pulls, facts.pulls.pointer_mut(), n);
                    lanes::to_f64::<R>(self.isa, columns.bonuses, facts.bonuses.pointer_mut(), n);
                    lanes::to_f64::<R>(self.isa, columns.products, facts.products.pointer_mut(), n);
                    lanes::to_f64::<R>(self.isa, columns.top_weights, facts.top_weights.pointer_mut(), n);
                    break;
                }
                let column = |column: *mut R, row: usize| column.add(row).read().to_f64();
                for row in 0..n {
                    facts.rests_mut()[row] += column(columns.rests, row);
                    facts.pulls_mut()[row] += column(columns.pulls, row);
                    facts.bonuses_mut()[row] += column(columns.bonuses, row);
                    facts.products_mut()[row] *= column(columns.products, row);
                    facts.top_weights_mut()[row] += column(columns.top_weights, row);
                }
            }
        }
    }

    /// Exponentials of classes from `start` on, for the second time.
    fn block_again<R: Real + Packed<Compute = R>>(&self, work: &Work<R>, start: usize, room: &mut Room) -> Block<R> {
        let fits = work.chunk == work.tile.classes;
        let block = self.block(work, start, !fits, room);
        if !fits {
            // SAFETY: the instruction set is available; block and columns are valid.
            unsafe { lanes::exponentials::<R>(self.isa, &block, &work.columns) };
        }
        block
    }

    fn write_smooth_tile<R: Real + Packed<Compute = R>>(
        &self,
        work: &Work<R>,
        rows: &Rows,
        smoothing: &Smoothing,
        job: &Job<'_, T>,
        room: &mut Room,
    ) {
        let Some(gradient) = &job.gradient else { return };
        let Work { tile, columns, chunk, .. } = work;
        let Rows { batch, facts, .. } = rows;
        let n = tile.rows();
        let counted = room.counted.as_mut_ptr().cast::<T::Compute>();
        // SAFETY: columns hold all rows of the tile, and a register more; the tile lies within the gradient, and is
        // this thread's.
        unsafe {
            for (row, &class) in batch.classes().iter().enumerate() {
                counted.add(row).write(if class == IGNORED { T::Compute::ZERO } else { T::Compute::ONE });
            }
            for row in n..n.next_multiple_of(MOST_LANES) {
                counted.add(row).write(T::Compute::ZERO);
                for column in [columns.shares, columns.bonus_shares, columns.factors, columns.label_gradients] {
                    column.add(row).write(R::ZERO);
                }
                columns.top_gradients.add(row).write(R::ZERO);
            }
            for (row, scale) in batch.scales().iter().enumerate() {
                let share = scale * smoothing.share;
                columns.shares.add(row).write(R::from_f64(share));
                columns.bonus_shares.add(row).write(R::from_f64(share * smoothing.bonus_weight));
            }
            lanes::from_f64::<R>(self.isa, facts.factors.pointer(), columns.factors, n);
            lanes::from_f64::<R>(self.isa, facts.label_gradients.pointer(), columns.label_gradients, n);
            lanes::from_f64::<R>(self.isa, facts.top_gradients.pointer(), columns.top_gradients, n);
            let numbers = room.numbers.as_mut_ptr().cast::<T::Compute>();
            let staged = room.staged.as_mut_ptr().cast::<T::Compute>();
            for start in (0..tile.classes).step_by(*chunk) {
                let block = self.block_again(work, start, room);
                lanes::gradient::<R>(self.isa, &block, columns);
                if size_of::<R>() > size_of::<T::Compute>() {
                    for class in 0..block.classes {
                        for row in 0..n {
                            let at = class * block.pitch + row;
                            numbers.add(at).write(T::Compute::from_f64(block.numbers.add(at).read().to_f64()));
                        }
                    }
                }
                let (end, to) = (start + block.classes, gradient.dlogits.pointer);
                tile::store::<T>(self.isa, tile, numbers, counted, start, end, staged, to, gradient.stream);
            }
        }
    }
}
