//! Few rows of very many classes: each row is cut into pieces, so that all threads have work.

use super::batch::{Batch, IGNORED};
use super::contiguous::{self, Sum};
use super::run::{Job, Layout, MOST_BLOCKS, part_of, publish};
use super::{Output, Parallel, Partial, Problem};
use crate::loss::element::Element;
use crate::loss::error::LossError;

/// With this many rows each thread has some.
const ENOUGH_ROWS: usize = 16;
/// Classes that are worth a piece of their own.
const CLASSES_PER_PIECE: usize = 16_384;

impl<T: Element> Problem<'_, T> {
    /// How many pieces each row is cut into; `None` where rows are enough, or short.
    pub(super) fn pieces_per_row(&self, layout: &Layout) -> Option<usize> {
        let Layout::Rows { rows } = *layout else { return None };
        if self.smooths() || rows == 0 || rows >= ENOUGH_ROWS {
            return None;
        }
        let pieces = (self.shape.classes() / CLASSES_PER_PIECE).min(MOST_BLOCKS / rows);
        (pieces >= 2).then_some(pieces)
    }

    /// Sums of all pieces, then what follows from them, then the gradient of all pieces.
    // its room is on the stack, and a page of that costs the smallest calls some nanoseconds: never in a caller's frame
    #[inline(never)]
    pub(super) fn run_split(
        &self,
        threads: &impl Parallel,
        job: &Job<'_, T>,
        pieces: usize,
    ) -> Result<Partial, LossError> {
        let (rows, classes) = (self.rows(), self.shape.classes());
        let mut batch = Batch::new();
        self.begin(&mut batch, 0..rows, job)?;
        let from_margins = self.has_margins(&batch, job);
        for i in 0..rows {
            let class = batch.classes()[i];
            if class != IGNORED {
                batch.label_logits_mut()[i] = self.logits[i * classes + class].to_f64();
            }
        }
        if !from_margins {
            let mut sums = [Sum { reference: 0.0, sum: 1.0 }; MOST_BLOCKS];
            let to = Output::new(&mut sums);
            let labels = batch.classes();
            threads.for_each(rows * pieces, &|piece| {
                let (row, part) = (piece / pieces, part_of(classes, piece % pieces, pieces));
                if labels[row] != IGNORED {
                    // SAFETY: the piece lies within the row and is longer than a register; each is run once.
                    unsafe {
                        let from = self.logits.as_ptr().add(row * classes);
                        let sum = contiguous::sum::<T>(self.isa, from, part.start, part.end, labels[row]);
                        to.write(piece, sum);
                    }
                }
            });
            for i in 0..rows {
                let whole = combine(&sums[i * pieces..(i + 1) * pieces]);
                batch.references_mut()[i] = whole.reference;
                batch.sums_mut()[i] = whole.sum;
            }
        }
        let mut partial = Partial::default();
        let regular = self.finish(&mut batch, job, from_margins, &mut partial);
        if let Some(gradient) = &job.gradient {
            threads.for_each(rows * pieces, &|piece| {
                self.write_row(
                    &batch,
                    piece / pieces,
                    from_margins,
                    part_of(classes, piece % pieces, pieces),
                    gradient,
                );
                if gradient.stream {
                    publish();
                }
            });
        }
        if !regular {
            self.mend(&batch, job, &mut partial);
        }
        Ok(partial)
    }
}

/// The sum over all pieces relative to their largest reference.
fn combine(pieces: &[Sum]) -> Sum {
    let reference = pieces.iter().fold(f64::NEG_INFINITY, |max, piece| max.max(piece.reference));
    let sum = pieces.iter().map(|piece| piece.sum * (piece.reference - reference).exp()).sum();
    Sum { reference, sum }
}
