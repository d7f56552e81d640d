//! From a problem to kernels: blocks for the threads, batches of rows within a block, and what becomes of each row.

use std::ops::Range;
use std::sync::Mutex;

use super::batch::{self, Batch, IGNORED, MOST_ROWS};
use super::contiguous::{self, Gradient};
use super::exact::{Logits, hard, smooth};
use super::tile::{self, Scratch, Source, Tile};
use super::{Output, Parallel, Partial, Problem, Target, check_length};
use crate::loss::element::{Arithmetic, Element, Label, Labels};
use crate::loss::error::LossError;

/// Elements of logits that are worth a block of their own.
const ELEMENTS_PER_BLOCK: usize = 65_536;
/// More blocks than this do not help to balance the load of any CPU we know.
pub(super) const MOST_BLOCKS: usize = 64;
/// Fewer classes side by side than this are worth a transposition, so that lanes are rows.
const FEWEST_CONTIGUOUS: usize = 64;
/// An inner axis of fewer positions makes no runs worth loading.
const SHORTEST_RUN: usize = 16;
/// Rows of a tile that is wanted even if a chunk has few classes then.
const ROWS_WANTED: usize = 64;
/// Bytes of logits that a thread works on before it goes back for their gradient: they are to stay in its cache.
const BATCH_BYTES: usize = 256 * 1024;
/// From this size on a gradient does not stay in any cache until somebody reads it, and is written past them.
const STREAM_BYTES: usize = 24 * 1024 * 1024;
/// Beyond this |m| a float32 margin is too coarse for the exponent of the gradient (its half ulp at 32 is 2e-6).
pub(super) const LARGEST_EXACT_MARGIN: f32 = 32.0;

/// What to compute, and where to.
pub(super) struct Job<'a, T> {
    pub(super) losses: Option<Output<'a, T>>,
    pub(super) margins: Option<Output<'a, f32>>,
    /// Losses are asked for.
    pub(super) forward: bool,
    pub(super) gradient: Option<GradientJob<'a, T>>,
}

pub(super) struct GradientJob<'a, T> {
    pub(super) dlogits: Output<'a, T>,
    dloss: Option<&'a [T]>,
    pub(super) margins: Option<&'a [f32]>,
    share: f64,
    /// Write past the caches.
    pub(super) stream: bool,
}

impl<'a, T: Element> GradientJob<'a, T> {
    pub(super) fn new(dlogits: Output<'a, T>, dloss: Option<&'a [T]>, margins: Option<&'a [f32]>, share: f64) -> Self {
        let stream = dlogits.len * size_of::<T>() >= STREAM_BYTES;
        GradientJob { dlogits, dloss, margins, share, stream }
    }

    fn scale(&self, row: usize) -> f64 {
        match self.dloss {
            None => self.share,
            Some([dloss]) => dloss.to_f64() * self.share,
            Some(dloss) => dloss[row].to_f64() * self.share,
        }
    }
}

/// How the rows are cut into units that one thread works on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Layout {
    /// A row of classes side by side.
    Rows { rows: usize },
    /// Rows of one batch entry along the inner axis.
    Runs { batches: usize, inner: usize, length: usize },
    /// All rows of some batch entries.
    Entries { batches: usize, inner: usize, length: usize },
}

impl Layout {
    fn new<T: Element>(problem: &Problem<'_, T>) -> Layout {
        let (batches, classes, inner) = (problem.shape.batch(), problem.shape.classes(), problem.shape.inner());
        let rows_in_scratch = tile::SCRATCH_BYTES / size_of::<T::Compute>() / classes;
        if inner == 1 && classes >= FEWEST_CONTIGUOUS {
            Layout::Rows { rows: batches }
        } else if inner >= SHORTEST_RUN {
            // the scratch area holds some rows more than there are in the tile
            let length = rows_in_scratch.saturating_sub(32).max(ROWS_WANTED) / 16 * 16;
            Layout::Runs { batches, inner, length: length.min(MOST_ROWS).min(inner) }
        } else {
            let length = (rows_in_scratch.saturating_sub(32) / inner.max(1)).clamp(1, MOST_ROWS / inner.max(1));
            Layout::Entries { batches, inner, length: length.min(batches.max(1)) }
        }
    }

    fn units(&self) -> usize {
        match *self {
            Layout::Rows { rows } => rows,
            Layout::Runs { batches, inner, length } => batches * inner.div_ceil(length),
            Layout::Entries { inner: 0, .. } => 0,
            Layout::Entries { batches, length, .. } => batches.div_ceil(length),
        }
    }

    /// The tile of a unit.
    pub(super) fn tile(&self, unit: usize, classes: usize) -> Option<Tile> {
        match *self {
            Layout::Rows { .. } => None,
            Layout::Runs { inner, length, .. } => {
                // of nearly equal length, none shorter than a register, all aligned as the first one
                let runs = inner.div_ceil(length);
                let part = part_of(inner / SHORTEST_RUN, unit % runs, runs);
                let inner_start = part.start * SHORTEST_RUN;
                let last = unit % runs == runs - 1;
                let run = if last { inner } else { part.end * SHORTEST_RUN } - inner_start;
                Some(Tile { batch_start: unit / runs, batches: 1, inner_start, run, classes, inner })
            }
            Layout::Entries { batches, inner, length } => {
                let batch_start = unit * length;
                let batches = length.min(batches - batch_start);
                Some(Tile { batch_start, batches, inner_start: 0, run: inner, classes, inner })
            }
        }
    }
}

/// Part `part` of `0..count` cut into `parts` of nearly equal size.
pub(super) fn part_of(count: usize, part: usize, parts: usize) -> Range<usize> {
    let (size, larger) = (count / parts, count % parts);
    let start = |p: usize| p * size + p.min(larger);
    start(part)..start(part + 1)
}

/// Runs blocks that give a partial each, and adds up in their order. Of several errors it returns that of the first
/// row.
pub(super) fn sum_over_blocks(
    threads: &impl Parallel,
    blocks: usize,
    work: impl Fn(usize) -> Result<Partial, LossError> + Sync,
) -> Result<Partial, LossError> {
    if blocks == 1 {
        return work(0);
    }
    let mut partials = [Partial::default(); MOST_BLOCKS];
    let first_error: Mutex<Option<LossError>> = Mutex::new(None);
    let to = Output::new(&mut partials);
    threads.for_each(blocks, &|block| match work(block) {
        // SAFETY: each block is run once.
        Ok(partial) => unsafe { to.write(block, partial) },
        Err(error) => {
            let mut first = first_error.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            if first.as_ref().is_none_or(|first| row_of(&error) < row_of(first)) {
                *first = Some(error);
            }
        }
    });
    match first_error.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
        Some(error) => Err(error),
        None => Ok(Partial::combine(partials[..blocks].iter().copied())),
    }
}

fn row_of(error: &LossError) -> usize {
    if let LossError::Label { row, .. } = error { *row } else { 0 }
}

impl<T: Element> Problem<'_, T> {
    /// Sum of the class weights of the labels of the rows that count: what reduction mean divides by. Reads labels and
    /// class weights only.
    pub(super) fn sum_of_weights(&self, threads: &impl Parallel) -> Result<f64, LossError> {
        let rows = self.rows();
        let blocks = rows.div_ceil(ELEMENTS_PER_BLOCK).clamp(1, MOST_BLOCKS);
        let sum = sum_over_blocks(threads, blocks, |block| {
            let rows = part_of(rows, block, blocks);
            let weight = match (self.class_weights, self.loss.ignore_index()) {
                // that the labels are in range is found out later
                (None, None) => rows.len() as f64,
                (None, Some(ignored)) => rows.filter(|&row| self.labels.get(row) != ignored).count() as f64,
                (Some(_), _) => rows
                    .map(|row| Ok(self.target(row)?.map_or(0.0, |target| target.weight)))
                    .sum::<Result<_, LossError>>()?,
            };
            Ok(Partial { loss: 0.0, weight })
        })?;
        Ok(sum.weight)
    }

    pub(super) fn run(&self, threads: &impl Parallel, job: &Job<'_, T>) -> Result<Partial, LossError> {
        if let Some(gradient) = &job.gradient {
            check_length("dlogits", self.shape.elements(), gradient.dlogits.len)?;
        }
        let layout = Layout::new(self);
        if let Some(pieces) = self.pieces_per_row(&layout) {
            return self.run_split(threads, job, pieces);
        }
        let units = layout.units();
        let blocks = self.shape.elements().div_ceil(ELEMENTS_PER_BLOCK).clamp(1, MOST_BLOCKS).min(units.max(1));
        sum_over_blocks(threads, blocks, |block| {
            let units = part_of(units, block, blocks);
            let partial = match layout {
                _ if self.smooths() => self.run_smooth(units, &layout, job),
                Layout::Rows { .. } => self.run_rows(units, job),
                Layout::Runs { .. } | Layout::Entries { .. } => self.run_tiles(units, &layout, job),
            };
            if job.gradient.as_ref().is_some_and(|gradient| gradient.stream) {
                publish();
            }
            partial
        })
    }

    // its room is on the stack, and a page of that costs the smallest calls some nanoseconds: never in a caller's frame
    #[inline(never)]
    fn run_rows(&self, rows: Range<usize>, job: &Job<'_, T>) -> Result<Partial, LossError> {
        let classes = self.shape.classes();
        let step = (BATCH_BYTES / (classes * size_of::<T>())).clamp(1, MOST_BLOCKS);
        let mut batch = Batch::new();
        let mut partial = Partial::default();
        let mut start = rows.start;
        while start < rows.end {
            self.begin(&mut batch, start..(start + step).min(rows.end), job)?;
            let from_margins = self.has_margins(&batch, job);
            for i in 0..batch.len {
                let class = batch.classes()[i];
                if class == IGNORED {
                    continue;
                }
                let row = (start + i) * classes;
                batch.label_logits_mut()[i] = self.logits[row + class].to_f64();
                if !from_margins {
                    // SAFETY: the row lies within the logits; it has at least FEWEST_CONTIGUOUS classes.
                    let sum =
                        unsafe { contiguous::sum::<T>(self.isa, self.logits.as_ptr().add(row), 0, classes, class) };
                    batch.references_mut()[i] = sum.reference;
                    batch.sums_mut()[i] = sum.sum;
                }
            }
            let regular = self.finish(&mut batch, job, from_margins, &mut partial);
            if let Some(gradient) = &job.gradient {
                for i in 0..batch.len {
                    self.write_row(&batch, i, from_margins, 0..classes, gradient);
                }
            }
            if !regular {
                self.mend(&batch, job, &mut partial);
            }
            start += batch.len;
        }
        Ok(partial)
    }

    /// The gradient of some classes of a row, unless it is irregular.
    pub(super) fn write_row(
        &self,
        batch: &Batch,
        i: usize,
        from_margins: bool,
        classes: Range<usize>,
        gradient: &GradientJob<'_, T>,
    ) {
        let row = (batch.start + i) * self.shape.classes();
        let class = batch.classes()[i];
        // SAFETY: rows lie within logits and gradient, which have the same length; this row is this thread's.
        unsafe {
            let to = gradient.dlogits.pointer.add(row);
            if class == IGNORED {
                return contiguous::clear::<T>(self.isa, to.add(classes.start), classes.len(), gradient.stream);
            }
            if !from_margins && !batch.is_regular(i) {
                return;
            }
            let slope = batch.slopes()[i];
            let (factor, a, m) = if from_margins {
                (slope, batch.label_logits()[i], batch.margin_losses()[i])
            } else {
                (slope / batch.sums()[i], batch.references()[i], 0.0)
            };
            let of = T::Compute::from_f64;
            let numbers = Gradient { factor: of(factor), a: of(a), m: of(m), label_gradient: of(-slope) };
            let from = self.logits.as_ptr().add(row);
            let (start, end) = (classes.start, classes.end);
            contiguous::write_gradient::<T>(self.isa, from, to, start, end, class, &numbers, gradient.stream);
        }
    }

    // its room is on the stack, and a page of that costs the smallest calls some nanoseconds: never in a caller's frame
    #[inline(never)]
    fn run_tiles(&self, units: Range<usize>, layout: &Layout, job: &Job<'_, T>) -> Result<Partial, LossError> {
        let classes = self.shape.classes();
        let mut batch = Batch::new();
        let mut scratch = Scratch::new();
        let mut partial = Partial::default();
        for unit in units.clone() {
            let Some(tile) = layout.tile(unit, classes) else { continue };
            let next = if unit + 1 < units.end { layout.tile(unit + 1, classes) } else { None };
            let start = tile.batch_start * self.shape.inner() + tile.inner_start;
            self.begin(&mut batch, start..start + tile.rows(), job)?;
            if batch.some_ignored && batch.classes().iter().all(|&class| class == IGNORED) {
                self.finish(&mut batch, job, true, &mut partial);
                if let Some(gradient) = &job.gradient {
                    self.clear_tile(&tile, gradient);
                }
                continue;
            }
            let from_margins = self.has_margins(&batch, job);
            if from_margins {
                for i in 0..batch.len {
                    if batch.classes()[i] != IGNORED {
                        batch.label_logits_mut()[i] = self.row(start + i).get(batch.classes()[i]).to_f64();
                    }
                }
            } else {
                // SAFETY: the tile lies within the logits.
                unsafe {
                    let from = self.logits.as_ptr();
                    tile::statistics::<T>(self.isa, &tile, next.as_ref(), from, &mut scratch, &mut batch);
                }
            }
            let regular = self.finish(&mut batch, job, from_margins, &mut partial);
            if let Some(gradient) = &job.gradient {
                let source = match (from_margins, tile.fits(size_of::<T::Compute>())) {
                    (true, _) => Source::Margins,
                    (false, true) => Source::Exponentials,
                    (false, false) => Source::Statistics,
                };
                let (from, to) = (self.logits.as_ptr(), gradient.dlogits.pointer);
                // SAFETY: the tile lies within logits and gradient; its rows are this thread's.
                unsafe {
                    let (isa, stream) = (self.isa, gradient.stream);
                    tile::write_gradient::<T>(
                        isa,
                        &tile,
                        next.as_ref(),
                        from,
                        &mut scratch,
                        &batch,
                        source,
                        to,
                        stream,
                    );
                }
            }
            if !regular {
                self.mend(&batch, job, &mut partial);
            }
        }
        Ok(partial)
    }

    pub(super) fn clear_tile(&self, tile: &Tile, gradient: &GradientJob<'_, T>) {
        let (classes, inner) = (tile.classes, tile.inner);
        // SAFETY: the tile lies within the gradient; its rows are this thread's.
        unsafe {
            let to = gradient.dlogits.pointer.add(tile.batch_start * classes * inner);
            if tile.run == inner {
                return contiguous::clear::<T>(self.isa, to, tile.batches * classes * inner, gradient.stream);
            }
            for class in 0..classes {
                let to = to.add(class * inner + tile.inner_start);
                contiguous::clear::<T>(self.isa, to, tile.run, gradient.stream);
            }
        }
    }

    /// Reads labels and class weights of these rows.
    pub(super) fn begin(&self, batch: &mut Batch, rows: Range<usize>, job: &Job<'_, T>) -> Result<(), LossError> {
        batch.begin(rows.start, rows.len());
        match self.labels {
            Labels::Int32(labels) => self.begin_classes(batch, &labels[rows.clone()])?,
            Labels::Int64(labels) => self.begin_classes(batch, &labels[rows.clone()])?,
        }
        for i in 0..if self.class_weights.is_some() || batch.some_ignored { rows.len() } else { 0 } {
            let class = batch.classes()[i];
            batch.weights_mut()[i] = if class == IGNORED { 0.0 } else { self.class_weight(class) };
        }
        if self.class_weights.is_none() && !batch.some_ignored {
            batch.weights_mut().fill(1.0);
        }
        match job.gradient.as_ref().map(|gradient| (gradient.dloss, gradient.share)) {
            None => {}
            Some((None, share)) => batch.scales_mut().fill(share),
            Some((Some([dloss]), share)) => batch.scales_mut().fill(dloss.to_f64() * share),
            Some((Some(dloss), share)) => {
                for (scale, dloss) in batch.scales_mut().iter_mut().zip(&dloss[rows]) {
                    *scale = dloss.to_f64() * share;
                }
            }
        }
        Ok(())
    }

    /// Labels → classes.
    fn begin_classes<L: Label>(&self, batch: &mut Batch, labels: &[L]) -> Result<(), LossError> {
        // without ignore_index this is a label out of range
        let ignored = self.loss.ignore_index();
        // SAFETY: the instruction set is available.
        let in_range =
            unsafe { batch::classes::<L>(self.isa, batch, labels, ignored.unwrap_or(-1), self.shape.classes()) };
        if in_range && (!batch.some_ignored || ignored.is_some()) {
            return Ok(());
        }
        for row in batch.start..batch.start + batch.len {
            self.target(row)?;
        }
        Ok(())
    }

    /// The margins of a forward pass are given and exact enough for all rows of the batch.
    pub(super) fn has_margins(&self, batch: &Batch, job: &Job<'_, T>) -> bool {
        let Some(margins) = job.gradient.as_ref().and_then(|gradient| gradient.margins) else { return false };
        let margins = &margins[batch.start..][..batch.len];
        let exact = |(&class, margin): (&usize, &f32)| class == IGNORED || margin.abs() <= LARGEST_EXACT_MARGIN;
        !job.forward && size_of::<T::Compute>() == size_of::<f32>() && batch.classes().iter().zip(margins).all(exact)
    }

    /// m, losses and slopes of the batch, and its outputs but for the gradient. Returns whether all rows are regular; if
    /// not, [`Problem::mend`] is for the others.
    pub(super) fn finish(
        &self,
        batch: &mut Batch,
        job: &Job<'_, T>,
        from_margins: bool,
        partial: &mut Partial,
    ) -> bool {
        if let (true, Some(margins)) = (from_margins, job.gradient.as_ref().and_then(|gradient| gradient.margins)) {
            let start = batch.start;
            for (m, &margin) in batch.margin_losses_mut().iter_mut().zip(&margins[start..]) {
                *m = -f64::from(margin);
            }
        }
        // SAFETY: the instruction set is available.
        let total = unsafe { batch::losses::<T::Compute>(self.isa, batch, &self.f, from_margins) };
        if job.forward {
            partial.loss += total.loss;
            partial.weight += total.weight;
            self.write_forward(batch, job);
        }
        total.regular
    }

    pub(super) fn write_forward(&self, batch: &Batch, job: &Job<'_, T>) {
        if let Some(losses) = &job.losses {
            // SAFETY: these rows are this thread's.
            let losses = unsafe { losses.rows(batch.start, batch.len) };
            for (to, &loss) in losses.iter_mut().zip(batch.losses()) {
                to.write(T::from_f64(loss));
            }
        }
        if let Some(margins) = &job.margins {
            // SAFETY: these rows are this thread's.
            let margins = unsafe { margins.rows(batch.start, batch.len) };
            for (to, &m) in margins.iter_mut().zip(batch.margin_losses()) {
                to.write((0.0 - m) as f32);
            }
        }
    }

    /// Does the irregular rows of the batch again.
    #[cold]
    #[inline(never)]
    pub(super) fn mend(&self, batch: &Batch, job: &Job<'_, T>, partial: &mut Partial) {
        for i in 0..batch.len {
            let class = batch.classes()[i];
            if class == IGNORED || batch.is_regular(i) {
                continue;
            }
            publish();
            let row = batch.start + i;
            let (loss, m) = self.exact_row(row, Target { class, weight: batch.weights()[i] }, job);
            if job.forward {
                partial.loss += loss;
                self.write_forward_row(row, loss, m, job);
            }
        }
    }

    /// Weighted loss and m of one row, and its gradient.
    pub(super) fn exact_row(&self, row: usize, target: Target, job: &Job<'_, T>) -> (f64, f64) {
        let place = self.row(row);
        let get = |class| place.get(class).to_f64();
        let logits = Logits { classes: self.shape.classes(), get: &get };
        let smooth_weight = |class| self.smooth_weight(class, target);
        if let Some(gradient) = &job.gradient {
            let scale = gradient.scale(row);
            // SAFETY: the row is this thread's.
            let mut write = |class, x| unsafe { gradient.dlogits.write(place.index(class), T::from_f64(x)) };
            if self.smooths() {
                smooth::backward(&self.f, logits, &smooth_weight, scale, &mut write);
            } else {
                hard::backward(&self.f, logits, target, scale, &mut write);
            }
        }
        match (job.forward, self.smooths()) {
            (false, _) => (0.0, 0.0),
            (true, true) => smooth::forward(&self.f, logits, target, &smooth_weight),
            (true, false) => hard::forward(&self.f, logits, target),
        }
    }

    /// How much of the loss of a class is in that of the row where labels are smoothed: ε/C·w_j + (1 − ε)·w_y·[j = y].
    fn smooth_weight(&self, class: usize, target: Target) -> f64 {
        let epsilon = f64::from(self.loss.label_smoothing());
        let everywhere = epsilon / self.shape.classes() as f64 * self.class_weight(class);
        if class == target.class { everywhere + (1.0 - epsilon) * target.weight } else { everywhere }
    }

    pub(super) fn write_forward_row(&self, row: usize, loss: f64, m: f64, job: &Job<'_, T>) {
        // SAFETY: the row is this thread's.
        unsafe {
            if let Some(losses) = &job.losses {
                losses.write(row, T::from_f64(loss));
            }
            if let Some(margins) = &job.margins {
                margins.write(row, (0.0 - m) as f32);
            }
        }
    }
}

/// What was streamed past the caches comes before whatever this thread stores from now on, and is visible to whoever
/// synchronises with it.
pub(super) fn publish() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 has SSE.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}
