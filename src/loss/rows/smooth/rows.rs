//! Rows of classes side by side.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::super::batch::{Batch, IGNORED};
use super::super::contiguous;
use super::super::run::{GradientJob, Job};
use super::super::simd::MOST_LANES;
use super::super::{Partial, Problem};
use super::classes::{self, Bonuses, Gradient, Piece, Softmax, Sums};
use super::curve::Curve;
use super::facts::{Facts, Smoothing};
use super::{Rows, transfer};
use crate::loss::Bonus;
use crate::loss::element::{Arithmetic, Element, Real};
use crate::loss::error::LossError;

/// Classes that are worked on at a time: their numbers stay in the first cache, and sums of f32 exact to 1e-7.
const PIECE: usize = 2048;
/// Rows of a batch.
const MOST_ROWS: usize = 64;
/// Bytes of logits that are worked on before they are read again.
const BATCH_BYTES: usize = 256 * 1024;
/// Up to so many classes the exponentials are kept for the second look and the gradient: they stay in the first cache.
const FEW_CLASSES: usize = 256;
/// ln 0.501
const LOG_LARGEST: f64 = -0.691_149_177_897_272_3;
/// 1 − p of a top class below is left to the exact path.
const SMALLEST_REST: f64 = 1e-290;

/// A piece in the type computed in.
type Buffer<R> = MaybeUninit<[R; PIECE + MOST_LANES]>;

struct Room<R> {
    logits: Buffer<R>,
    weights: Buffer<R>,
    /// ln of the p up to which the bonus is its series.
    log_series_end: f64,
    /// exp(z − reference) of all rows of a batch.
    kept: MaybeUninit<[u64; MOST_ROWS * FEW_CLASSES]>,
}

/// A row of the batch: of the problem, and where its exponentials are kept.
#[derive(Clone, Copy)]
struct Place<R> {
    row: usize,
    kept: *mut R,
}

/// The end of the piece of `0..len` that starts at `start`: none is shorter than a register.
fn piece_end(start: usize, len: usize) -> usize {
    if len - start <= PIECE + MOST_LANES { len } else { start + PIECE }
}

impl<T: Element> Problem<'_, T> {
    // its room is on the stack, and a page of that costs the smallest calls some nanoseconds: never in a caller's frame
    #[inline(never)]
    pub(super) fn run_smooth_rows(
        &self,
        range: Range<usize>,
        job: &Job<'_, T>,
        smoothing: &Smoothing,
    ) -> Result<Partial, LossError> {
        let classes = self.shape.classes();
        let row_bytes = classes * size_of::<T::Compute>();
        let step = (BATCH_BYTES / row_bytes).clamp(1, MOST_ROWS);
        let keeps = classes <= FEW_CLASSES;
        let curve = Curve::<T::Compute>::new(&self.loss);
        let mut room = Room {
            logits: Buffer::uninit(),
            weights: Buffer::uninit(),
            log_series_end: curve.series_end().max(0.0).ln(),
            kept: MaybeUninit::uninit(),
        };
        let mut rows = Rows::new();
        let mut sums = [Sums::NONE; MOST_ROWS];
        let mut top_classes = [IGNORED; MOST_ROWS];
        let mut places = [Place { row: 0, kept: std::ptr::null_mut() }; MOST_ROWS];
        let mut partial = Partial::default();
        let mut start = range.start;
        while start < range.end {
            let end = (start + step).min(range.end);
            self.begin_smooth(&mut rows, start..end, job)?;
            for i in 0..end - start {
                let class = rows.batch.classes()[i];
                if class == IGNORED {
                    continue;
                }
                let kept = room.kept.as_mut_ptr().cast::<T::Compute>().wrapping_add(i * classes);
                places[i] = Place { row: start + i, kept: if keeps { kept } else { std::ptr::null_mut() } };
                sums[i] = self.row_sums(&mut places[i], [class, IGNORED], &curve, &mut room);
                rows.batch.label_logits_mut()[i] = self.logits[(start + i) * classes + class].to_f64();
                rows.batch.references_mut()[i] = sums[i].reference;
                rows.batch.sums_mut()[i] = sums[i].sum;
            }
            self.label_facts(&mut rows);
            for i in 0..end - start {
                if rows.batch.classes()[i] != IGNORED && rows.batch.is_regular(i) {
                    top_classes[i] = self.add_bonuses(&mut rows, i, &mut places[i], &sums[i], &curve, &mut room);
                }
            }
            self.resolve(&mut rows, smoothing, SMALLEST_REST);
            if let Some(gradient) = &job.gradient {
                for i in 0..end - start {
                    self.write_smooth_row(&rows, i, places[i], top_classes[i], &curve, smoothing, gradient, &mut room);
                }
            }
            self.finish_smooth(&mut rows, job, SMALLEST_REST, &mut partial);
            start = end;
        }
        Ok(partial)
    }

    /// Classes `range` of a row in the type computed in.
    fn piece(
        &self,
        place: Place<T::Compute>,
        range: Range<usize>,
        without: [usize; 2],
        room: &mut Room<T::Compute>,
    ) -> Piece<T::Compute> {
        let same = size_of::<T>() == size_of::<T::Compute>();
        let from = self.logits[place.row * self.shape.classes()..][range.clone()].as_ptr();
        let weights = self.class_weights.map_or(std::ptr::null(), |weights| weights[range.clone()].as_ptr());
        let mut piece = Piece {
            logits: from.cast(),
            weights: weights.cast(),
            kept: if place.kept.is_null() { place.kept } else { place.kept.wrapping_add(range.start) },
            len: range.len(),
            without: without.map(|class| class.wrapping_sub(range.start)),
        };
        if !same && range.len() <= PIECE + MOST_LANES {
            // SAFETY: the buffers hold the longest piece.
            unsafe {
                transfer::widen::<T>(self.isa, from, room.logits.as_mut_ptr().cast(), range.len());
                piece.logits = room.logits.as_ptr().cast();
                if !weights.is_null() {
                    transfer::widen::<T>(self.isa, weights, room.weights.as_mut_ptr().cast(), range.len());
                    piece.weights = room.weights.as_ptr().cast();
                }
            }
        }
        piece
    }

    /// The pieces of a row, one after the other.
    fn for_each_piece(
        &self,
        place: Place<T::Compute>,
        without: [usize; 2],
        room: &mut Room<T::Compute>,
        mut work: impl FnMut(usize, &Piece<T::Compute>),
    ) {
        let classes = self.shape.classes();
        let mut start = 0;
        while start < classes {
            let end = piece_end(start, classes);
            work(start, &self.piece(place, start..end, without, room));
            start = end;
        }
    }

    /// One read of a row.
    fn row_sums(
        &self,
        place: &mut Place<T::Compute>,
        without: [usize; 2],
        curve: &Curve<T::Compute>,
        room: &mut Room<T::Compute>,
    ) -> Sums {
        let mut sums = Sums::NONE;
        let log = curve.is_log();
        let mut first = None;
        self.for_each_piece(*place, without, room, |_, piece| {
            // SAFETY: the instruction set is available; pieces are valid.
            unsafe { classes::sums::<T::Compute>(self.isa, piece, log, &mut sums) }
            first.get_or_insert(sums.reference);
        });
        if first != Some(sums.reference) {
            // what was kept of the first pieces is relative to another one
            place.kept = std::ptr::null_mut();
        }
        sums
    }

    /// What the bonus of the other classes comes to; returns the top class.
    fn add_bonuses(
        &self,
        rows: &mut Rows,
        i: usize,
        place: &mut Place<T::Compute>,
        sums: &Sums,
        curve: &Curve<T::Compute>,
        room: &mut Room<T::Compute>,
    ) -> usize {
        let Rows { batch, facts, .. } = rows;
        let class = batch.classes()[i];
        // ln p of the largest
        let log_share = |sums: &Sums, facts: &Facts| (sums.largest - sums.reference) - facts.log_sums()[i];
        let mut sums = *sums;
        let mut largest = log_share(&sums, facts);
        let mut top = IGNORED;
        if largest > LOG_LARGEST {
            top = self.find(*place, sums.largest, class, room);
            let before = sums;
            sums = self.row_sums(place, [class, top], curve, room);
            let by = before.reference - sums.reference;
            facts.lower_reference(i, by);
            facts.tops_mut()[i] = 1.0;
            facts.top_weights_mut()[i] = self.class_weight(top);
            batch.references_mut()[i] = sums.reference;
            batch.sums_mut()[i] = before.sum * by.exp();
            sums.distance -= self.class_weight(top) * (before.largest - sums.reference);
            largest = log_share(&sums, facts);
        }
        let inverse = facts.inverses()[i];
        let label_distance = batch.label_logits()[i] - sums.reference;
        facts.distances_mut()[i] = sums.distance - batch.weights()[i] * label_distance;
        facts.rests_mut()[i] = sums.sum * inverse;
        let mut bonuses = Bonuses { value: 0.0, pull: 0.0, product: 1.0 };
        if curve.is_log() {
            let [first, second, third] = sums.powers;
            let (first, second, third) =
                (first * inverse, second * inverse * inverse, third * inverse * inverse * inverse);
            bonuses.value = -(first + second / 2.0 + third / 3.0);
            bonuses.pull = first + second + third;
        }
        if largest > room.log_series_end {
            let softmax = softmax(batch, facts, i, curve);
            self.for_each_piece(*place, [class, top], room, |_, piece| {
                // SAFETY: the instruction set is available; pieces are valid.
                unsafe { classes::bonuses::<T::Compute>(self.isa, piece, &softmax, &mut bonuses) }
            });
        }
        facts.bonuses_mut()[i] = bonuses.value;
        facts.pulls_mut()[i] = bonuses.pull;
        facts.products_mut()[i] = bonuses.product;
        top
    }

    /// The class of this logit.
    fn find(&self, place: Place<T::Compute>, logit: f64, label: usize, room: &mut Room<T::Compute>) -> usize {
        let mut found = IGNORED;
        self.for_each_piece(place, [label, IGNORED], room, |start, piece| {
            if found == IGNORED {
                // SAFETY: the instruction set is available; pieces are valid.
                let at = unsafe { classes::find::<T::Compute>(self.isa, piece, T::Compute::from_f64(logit)) };
                if at < piece.len {
                    found = start + at;
                }
            }
        });
        debug_assert!(found != IGNORED, "the largest logit of a row is in it");
        found
    }

    #[allow(clippy::too_many_arguments, reason = "a row, what is known of it, and where its gradient goes")]
    fn write_smooth_row(
        &self,
        rows: &Rows,
        i: usize,
        place: Place<T::Compute>,
        top: usize,
        curve: &Curve<T::Compute>,
        smoothing: &Smoothing,
        gradient: &GradientJob<'_, T>,
        room: &mut Room<T::Compute>,
    ) {
        let Rows { batch, facts, .. } = rows;
        let (classes, class) = (self.shape.classes(), batch.classes()[i]);
        let row = batch.start + i;
        // SAFETY: the row lies within the gradient, and is this thread's.
        let to = unsafe { gradient.dlogits.pointer.add(row * classes) };
        if class == IGNORED {
            // SAFETY: as above.
            return unsafe { contiguous::clear::<T>(self.isa, to, classes, gradient.stream) };
        }
        if !batch.is_regular(i) || !facts.has_gradient(i) {
            return;
        }
        let of = T::Compute::from_f64;
        let share = batch.scales()[i] * smoothing.share;
        let bonus_share = share * smoothing.bonus_weight;
        let inverse = facts.inverses()[i];
        let series = if curve.is_log() { bonus_share * inverse } else { 0.0 };
        let numbers = Gradient {
            softmax: softmax(batch, facts, i, curve),
            factor: of(facts.factors()[i]),
            share: of(share),
            bonus_share: of(bonus_share),
            series: [of(series), of(series * inverse), of(series * inverse * inverse)],
            without: [of(facts.label_gradients()[i]), of(facts.top_gradients()[i])],
        };
        let without = [class, top];
        let (isa, stream) = (self.isa, gradient.stream);
        if self.is_at_hand(&place) {
            let piece = self.piece(place, 0..classes, without, room);
            // SAFETY: the instruction set is available; the row is this thread's.
            return unsafe { classes::gradient::<T>(isa, &piece, &numbers, to, stream) };
        }
        // but for the row's first and last, pieces are whole lines: none is both stored to and streamed
        let line = 64 / size_of::<T>();
        let before = to as usize / size_of::<T>() % line;
        let mut start = 0;
        while start < classes {
            let end = piece_end(start, classes);
            let end = if end < classes { end - (before + end) % line } else { end };
            let piece = self.piece(place, start..end, without, room);
            // SAFETY: as above.
            unsafe { classes::gradient::<T>(isa, &piece, &numbers, to.add(start), stream) };
            start = end;
        }
    }

    /// All numbers of a row are there in the type computed in.
    fn is_at_hand(&self, place: &Place<T::Compute>) -> bool {
        let same = size_of::<T>() == size_of::<T::Compute>();
        same || (!place.kept.is_null() && self.class_weights.is_none() && !matches!(self.loss.bonus(), Bonus::Power))
    }
}

fn softmax<R: Real>(batch: &Batch, facts: &Facts, i: usize, curve: &Curve<R>) -> Softmax<R> {
    Softmax {
        reference: R::from_f64(batch.references()[i]),
        inverse: R::from_f64(facts.inverses()[i]),
        log_sum: R::from_f64(facts.log_sums()[i]),
        series_end: R::from_f64(curve.series_end() / facts.inverses()[i]),
        curve: *curve,
    }
}
