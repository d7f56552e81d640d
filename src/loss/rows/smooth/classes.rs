//! Kernels for rows whose classes lie side by side: a piece of a row at a time, in the type computed in.

use std::mem::MaybeUninit;

use super::super::contiguous::{copy_few, whole_lines};
use super::super::exp::exp;
use super::super::isa::with_isa;
use super::super::simd::{MOST_LANES, Packed, Simd, Vector};
use super::curve::Curve;
use crate::loss::element::{Arithmetic, Real};

/// How far a logit may lie above the reference. Beyond, the piece is done again with a better one.
const LARGEST_EXCESS: f64 = 16.0;
/// Registers that are looked at together.
const GROUP: usize = 4;

/// The body once for each register of a group: written out, since only then the group stays in registers where the
/// compiler optimises for size.
macro_rules! each_of_group {
    ($i:ident => $body:block) => {{
        each_of_group!(0 $i $body);
        each_of_group!(1 $i $body);
        each_of_group!(2 $i $body);
        each_of_group!(3 $i $body);
    }};
    ($number:literal $i:ident $body:block) => {
        let $i: usize = $number;
        $body
    };
}
/// Added to squares, so that they do not become subnormal, which is slow on some machines.
const TINY: f64 = 1e-30;

/// A piece of a row.
#[derive(Clone, Copy)]
pub struct Piece<R> {
    pub logits: *const R,
    /// Null without class weights.
    pub weights: *const R,
    /// Where exp(z_j − reference) is kept, 0 for classes left out; null if it is not.
    pub kept: *mut R,
    /// No fewer than the widest register has lanes, unless `fresh` numbers before are valid, too.
    pub len: usize,
    /// Classes left out of the sums: the label, and another one; any number that is no index of the piece for none.
    pub without: [usize; 2],
}

/// What one read of a row gives, added up over its pieces.
#[derive(Clone, Copy, Debug)]
pub struct Sums {
    /// −∞ before the first piece.
    pub reference: f64,
    /// The largest logit but for the classes left out.
    pub largest: f64,
    /// Σ exp(z_j − reference) without the classes left out.
    pub sum: f64,
    /// Σ w_j·exp(z_j − reference)^k for k = 1, 2, 3, without the classes left out.
    pub powers: [f64; 3],
    /// Σ w_j·(z_j − reference) of all classes, those left out included.
    pub distance: f64,
    /// Σ w_j of all classes.
    pub weight: f64,
}

impl Sums {
    pub const NONE: Sums = Sums {
        reference: f64::NEG_INFINITY,
        largest: f64::NEG_INFINITY,
        sum: 0.0,
        powers: [0.0; 3],
        distance: 0.0,
        weight: 0.0,
    };

    /// The same sums relative to a larger reference.
    fn raise(&mut self, reference: f64) {
        let by = reference - self.reference;
        let factor = (-by).exp();
        self.reference = reference;
        self.sum *= factor;
        let mut power = 1.0;
        for sum in &mut self.powers {
            power *= factor;
            *sum *= power;
        }
        self.distance -= self.weight * by;
    }
}

/// What the bonus adds over some classes.
#[derive(Clone, Copy, Debug)]
pub struct Bonuses {
    /// Σ w·b(p), but for ln of the product.
    pub value: f64,
    pub pull: f64,
    pub product: f64,
}

/// Where p comes from: exp(z − reference)·inverse.
#[derive(Clone, Copy, Debug)]
pub struct Softmax<R> {
    pub reference: R,
    pub inverse: R,
    /// ln of the denominator.
    pub log_sum: R,
    /// Above this exp(z − reference) the curve's series does not hold.
    pub series_end: R,
    pub curve: Curve<R>,
}

/// Numbers of a row's gradient: e·factor − w·(share + share·ρ·r(p)) with e = exp(z − reference).
#[derive(Clone, Copy, Debug)]
pub struct Gradient<R> {
    pub softmax: Softmax<R>,
    pub factor: R,
    pub share: R,
    /// share·ρ
    pub bonus_share: R,
    /// share·ρ·(1/Σ)^k for k = 1, 2, 3: the series of r in powers of e; 0 without bonus.
    pub series: [R; 3],
    /// The gradient of the classes that the piece leaves out.
    pub without: [R; 2],
}

with_isa! {
    /// Adds a piece to the sums of its row.
    ///
    /// # Safety
    /// The instruction set is available; `T` is the type computed in; the piece is valid.
    fn sums<T: Packed>(piece: &Piece<T::Compute>, log: bool, sums: &mut Sums) = sums_in;
    /// Σ w·b(p) and Σ w·r(p) of a piece; of the series' part only what the series lacks.
    ///
    /// # Safety
    /// As [`sums`].
    fn bonuses<T: Packed>(piece: &Piece<T::Compute>, softmax: &Softmax<T::Compute>, bonuses: &mut Bonuses) = bonuses_in;
    /// The first class whose logit is `value` and that is not left out, or `len`.
    ///
    /// # Safety
    /// As [`sums`].
    fn find<T: Packed>(piece: &Piece<T::Compute>, value: T::Compute) -> usize = find_in;
    /// The gradient of a piece; `T` is the type of the logits.
    ///
    /// # Safety
    /// As [`sums`]; `to` holds `len` numbers.
    fn gradient<T: Packed>(
        piece: &Piece<T::Compute>, gradient: &Gradient<T::Compute>, to: *mut T, stream: bool
    ) = gradient_in;
}

/// x with `other` in the lane of `class`, if that is one of those from class `at` on.
#[inline(always)]
unsafe fn replace<V: Vector>(x: V, at: usize, class: usize, other: V) -> V {
    let lane = class.wrapping_sub(at);
    if lane >= V::LANES {
        return x;
    }
    // SAFETY: the caller's.
    unsafe { V::iota().if_equal(V::splat(V::Real::from_f64(lane as f64)), other, x) }
}

/// x with `other` in the lanes before class `fresh`.
#[inline(always)]
unsafe fn replace_before<V: Vector>(x: V, at: usize, fresh: usize, other: V) -> V {
    if fresh <= at {
        return x;
    }
    // SAFETY: the caller's.
    unsafe { V::iota().if_less(V::splat(V::Real::from_f64((fresh - at) as f64)), other, x) }
}

/// Where the last register of a piece starts: so that it ends with the piece.
#[inline(always)]
fn clamp(at: usize, lanes: usize, len: usize) -> usize {
    if at + lanes <= len { at } else { len - lanes }
}

#[inline(always)]
fn holds(without: [usize; 2], at: usize, count: usize) -> bool {
    without[0].wrapping_sub(at) < count || without[1].wrapping_sub(at) < count
}

#[inline(always)]
unsafe fn sums_in<S: Simd, T: Packed>(piece: &Piece<T::Compute>, log: bool, sums: &mut Sums) {
    let lanes = T::Vector::<S>::LANES;
    // SAFETY: the caller's.
    unsafe {
        if sums.reference == f64::NEG_INFINITY {
            // a logit that is not far below the largest one
            let masked = T::Vector::<S>::splat(T::Compute::NEG_INFINITY);
            let mut seed = masked;
            for step in 0..GROUP {
                let at = clamp(step * lanes, lanes, piece.len);
                let z = T::Vector::<S>::load(piece.logits.add(at));
                let z = replace(replace(z, at, piece.without[0], masked), at, piece.without[1], masked);
                seed = seed.max(z);
            }
            let seed = seed.largest().to_f64();
            // masked classes only, so far (or NaN): any number will do
            sums.reference = if seed > -1e30 { seed } else { -1e30 };
        }
        loop {
            let part = part_in::<S, T>(piece, log, T::Compute::from_f64(sums.reference));
            if part.largest - sums.reference > LARGEST_EXCESS && part.largest < f64::INFINITY {
                sums.raise(part.largest);
                continue;
            }
            sums.largest = if part.largest > sums.largest { part.largest } else { sums.largest };
            sums.sum += part.sum;
            for (sum, part) in sums.powers.iter_mut().zip(part.powers) {
                *sum += part;
            }
            sums.distance += part.distance;
            sums.weight += part.weight;
            return;
        }
    }
}

/// Sums of registers.
#[derive(Clone, Copy)]
struct Lanes<V> {
    largest: V,
    sum: V,
    powers: [V; 3],
    distance: V,
    weight: V,
}

impl<V: Vector> Lanes<V> {
    /// Adds a register of classes from `at` on, some of which are left out.
    #[inline(always)]
    unsafe fn add_masked(&mut self, piece: &Piece<V::Real>, at: usize, fresh: usize, reference: V) {
        // SAFETY: the caller's.
        unsafe {
            let (zero, masked) = (V::splat(V::Real::ZERO), V::splat(V::Real::NEG_INFINITY));
            let one = V::splat(V::Real::ONE);
            let z = V::load(piece.logits.add(at));
            let counted = replace_before(z.sub(reference), at, fresh, zero);
            let w = if piece.weights.is_null() { one } else { V::load(piece.weights.add(at)) };
            let w = replace_before(w, at, fresh, zero);
            let e = exp(z.sub(reference));
            let e = replace(replace(e, at, piece.without[0], zero), at, piece.without[1], zero);
            if !piece.kept.is_null() {
                e.store(piece.kept.add(at));
            }
            let e = replace_before(e, at, fresh, zero);
            let z = replace_before(z, at, fresh, masked);
            let z = replace(replace(z, at, piece.without[0], masked), at, piece.without[1], masked);
            self.largest = z.max(self.largest);
            self.sum = self.sum.add(e);
            self.distance = w.mul_add(counted, self.distance);
            self.weight = self.weight.add(w);
            let square = e.mul_add(e, V::splat(V::Real::from_f64(TINY)));
            self.powers[0] = w.mul_add(e, self.powers[0]);
            self.powers[1] = w.mul_add(square, self.powers[1]);
            self.powers[2] = w.mul(e).mul_add(square, self.powers[2]);
        }
    }

    /// Adds a group of registers.
    #[inline(always)]
    unsafe fn add(&mut self, piece: &Piece<V::Real>, at: usize, log: bool, reference: V) {
        // SAFETY: the caller's.
        unsafe {
            let tiny = V::splat(V::Real::from_f64(TINY));
            let mut z = [reference; GROUP];
            let mut d = [reference; GROUP];
            let mut e = [reference; GROUP];
            each_of_group!(i => {
                z[i] = V::load(piece.logits.add(at + i * V::LANES));
                d[i] = z[i].sub(reference);
            });
            if holds(piece.without, at, GROUP * V::LANES) {
                let masked = V::splat(V::Real::NEG_INFINITY);
                each_of_group!(i => {
                    let at = at + i * V::LANES;
                    z[i] = replace(replace(z[i], at, piece.without[0], masked), at, piece.without[1], masked);
                });
            }
            each_of_group!(i => {
                self.largest = z[i].max(self.largest);
                e[i] = exp(z[i].sub(reference));
            });
            if !piece.kept.is_null() {
                each_of_group!(i => { e[i].store(piece.kept.add(at + i * V::LANES)); });
            }
            self.sum = self.sum.add(e[0].add(e[1]).add(e[2].add(e[3])));
            if piece.weights.is_null() {
                self.distance = self.distance.add(d[0].add(d[1]).add(d[2].add(d[3])));
                if log {
                    each_of_group!(i => {
                        let square = e[i].mul_add(e[i], tiny);
                        self.powers[1] = self.powers[1].add(square);
                        self.powers[2] = square.mul_add(e[i], self.powers[2]);
                    });
                }
                return;
            }
            each_of_group!(i => {
                let w = V::load(piece.weights.add(at + i * V::LANES));
                self.weight = self.weight.add(w);
                self.distance = w.mul_add(d[i], self.distance);
                if log {
                    let square = e[i].mul_add(e[i], tiny);
                    let weighted = w.mul(e[i]);
                    self.powers[0] = self.powers[0].add(weighted);
                    self.powers[1] = w.mul_add(square, self.powers[1]);
                    self.powers[2] = weighted.mul_add(square, self.powers[2]);
                }
            });
        }
    }
}

#[inline(always)]
unsafe fn part_in<S: Simd, T: Packed>(piece: &Piece<T::Compute>, log: bool, reference: T::Compute) -> Sums {
    let lanes = T::Vector::<S>::LANES;
    let weighted = !piece.weights.is_null();
    // SAFETY: the caller's; a last register reads back to `len` − lanes.
    unsafe {
        let zero = T::Vector::<S>::splat(T::Compute::ZERO);
        let tiny = T::Vector::<S>::splat(T::Compute::from_f64(TINY));
        let start = T::Vector::<S>::splat(T::Compute::NEG_INFINITY);
        let mut all = Lanes { largest: start, sum: zero, powers: [zero, tiny, tiny], distance: zero, weight: zero };
        let vector = T::Vector::<S>::splat(reference);
        let mut at = 0;
        // without class weights the plain sums of whole groups serve
        let mut counted = 0;
        while at < piece.len {
            if at + GROUP * lanes <= piece.len {
                all.add(piece, at, log, vector);
                at += GROUP * lanes;
                counted += GROUP * lanes;
                continue;
            }
            let end = (at + GROUP * lanes).min(piece.len);
            while at < end {
                all.add_masked(piece, clamp(at, lanes, piece.len), at, vector);
                counted += lanes.min(piece.len - at);
                at += lanes;
            }
        }
        let sum = all.sum.sum().to_f64();
        let first = if weighted { all.powers[0].sum().to_f64() } else { sum };
        Sums {
            reference: reference.to_f64(),
            largest: all.largest.largest().to_f64(),
            sum,
            powers: [first, all.powers[1].sum().to_f64(), all.powers[2].sum().to_f64()],
            distance: all.distance.sum().to_f64(),
            weight: if weighted { all.weight.sum().to_f64() } else { counted as f64 },
        }
    }
}

/// exp(z − reference) of a register.
#[inline(always)]
unsafe fn exponentials<V: Vector>(piece: &Piece<V::Real>, at: usize, reference: V) -> V {
    // SAFETY: the caller's.
    unsafe {
        if piece.kept.is_null() {
            exp(V::load(piece.logits.add(at)).sub(reference))
        } else {
            V::load(piece.kept.add(at))
        }
    }
}

/// ln p of a register; only a power asks for it.
#[inline(always)]
unsafe fn logarithms<V: Vector>(piece: &Piece<V::Real>, at: usize, reference: V, log_sum: V) -> V {
    // SAFETY: the caller's.
    unsafe { V::load(piece.logits.add(at)).sub(reference).sub(log_sum) }
}

/// No lane of a group holds more than `end`.
#[inline(always)]
unsafe fn below<V: Vector>(group: *const V::Real, end: V) -> bool {
    // SAFETY: the caller's.
    unsafe {
        let mut largest = V::load(group);
        each_of_group!(i => { largest = V::load(group.add(i * V::LANES)).max(largest); });
        !largest.any_above(end)
    }
}

#[inline(always)]
unsafe fn bonuses_in<S: Simd, T: Packed>(
    piece: &Piece<T::Compute>,
    softmax: &Softmax<T::Compute>,
    bonuses: &mut Bonuses,
) {
    let lanes = T::Vector::<S>::LANES;
    // SAFETY: the caller's; a last register reads back to `len` − lanes.
    unsafe {
        let zero = T::Vector::<S>::splat(T::Compute::ZERO);
        let one = T::Vector::<S>::splat(T::Compute::ONE);
        let masked = T::Vector::<S>::splat(T::Compute::NEG_INFINITY);
        let half = T::Vector::<S>::splat(T::Compute::from_f64(0.5));
        let third = T::Vector::<S>::splat(T::Compute::from_f64(1.0 / 3.0));
        let reference = T::Vector::<S>::splat(softmax.reference);
        let inverse = T::Vector::<S>::splat(softmax.inverse);
        let log_sum = T::Vector::<S>::splat(softmax.log_sum);
        // without exponentials at hand the logits are compared, a little low, so that rounding leaves no class out
        let looked_at = if piece.kept.is_null() { piece.logits } else { piece.kept.cast_const() };
        let end = if piece.kept.is_null() {
            let end = softmax.series_end.to_f64().max(0.0).ln() - 1e-4;
            T::Compute::from_f64(softmax.reference.to_f64() + end)
        } else {
            softmax.series_end
        };
        let end = T::Vector::<S>::splat(end);
        let curve = softmax.curve;
        // the logarithm of a product costs one logarithm, not one for each factor
        let as_product = matches!(curve, Curve::Log) && piece.weights.is_null();
        let (mut value, mut pull, mut product) = (zero, zero, one);
        let mut at = 0;
        while at < piece.len {
            if at + GROUP * lanes <= piece.len && below(looked_at.add(at), end) {
                at += GROUP * lanes;
                continue;
            }
            let stop = (at + GROUP * lanes).min(piece.len);
            while at < stop {
                let from = clamp(at, lanes, piece.len);
                let e = exponentials(piece, from, reference);
                let e = replace_before(e, from, at, zero);
                let e = replace(replace(e, from, piece.without[0], zero), from, piece.without[1], zero);
                let p = e.mul(inverse);
                at += lanes;
                if as_product {
                    let q = one.sub(p);
                    let square = p.mul(p);
                    product = product.mul(q);
                    value = p.mul_add(third, half).mul_add(square, value).add(p);
                    pull = square.mul(square).div(q).add(pull);
                    continue;
                }
                let w = if piece.weights.is_null() { one } else { T::Vector::<S>::load(piece.weights.add(from)) };
                let mut log_p = zero;
                if curve.is_power() {
                    log_p = zero.if_less(p, logarithms(piece, from, reference, log_sum), masked);
                }
                let mut b = curve.value(p, log_p);
                let mut r = curve.pull(p, log_p);
                if curve.is_log() {
                    b = p.mul_add(third, half).mul_add(p, one).mul_add(p, b);
                    r = r.sub(p.add(one).mul_add(p, one).mul(p));
                }
                value = w.mul_add(b, value);
                pull = w.mul_add(r, pull);
            }
        }
        bonuses.value += value.sum().to_f64();
        bonuses.pull += pull.sum().to_f64();
        if as_product {
            let mut factors = product.to_array();
            let mut n = lanes;
            while n > 1 {
                n /= 2;
                for lane in 0..n {
                    factors[lane] = factors[lane] * factors[lane + n];
                }
            }
            bonuses.product *= factors[0].to_f64();
        }
    }
}

#[inline(always)]
unsafe fn find_in<S: Simd, T: Packed>(piece: &Piece<T::Compute>, value: T::Compute) -> usize {
    let lanes = T::Vector::<S>::LANES;
    // SAFETY: the caller's; a last register reads back to `len` − lanes.
    unsafe {
        let zero = T::Vector::<S>::splat(T::Compute::ZERO);
        let one = T::Vector::<S>::splat(T::Compute::ONE);
        let mut at = 0;
        while at < piece.len {
            let from = clamp(at, lanes, piece.len);
            let z = T::Vector::<S>::load(piece.logits.add(from));
            if z.if_equal(T::Vector::<S>::splat(value), one, zero).any_above(zero) {
                for class in from..from + lanes {
                    if piece.logits.add(class).read() == value && !piece.without.contains(&class) {
                        return class;
                    }
                }
            }
            at += lanes;
        }
        piece.len
    }
}

/// The gradient from the series of the bonus.
#[inline(always)]
unsafe fn from_series<V: Vector>(e: V, w: V, factor: V, share: V, series: &[V; 3], weighted: bool) -> V {
    // SAFETY: the caller's.
    unsafe {
        if weighted {
            let u = series[2].mul_add(e, series[1]).mul_add(e, series[0]).mul_add(e, share);
            return e.mul(factor).sub(w.mul(u));
        }
        let zero = V::splat(V::Real::ZERO);
        let (c0, c1) = (zero.sub(share), factor.sub(series[0]));
        let (c2, c3) = (zero.sub(series[1]), zero.sub(series[2]));
        c3.mul_add(e, c2).mul_add(e, c1).mul_add(e, c0)
    }
}

#[inline(always)]
unsafe fn gradient_in<S: Simd, T: Packed>(
    piece: &Piece<T::Compute>,
    gradient: &Gradient<T::Compute>,
    to: *mut T,
    stream: bool,
) {
    let lanes = T::Vector::<S>::LANES;
    let Softmax { reference, inverse, log_sum, series_end, curve } = gradient.softmax;
    // SAFETY: the caller's; registers that overlap write the same values again.
    unsafe {
        let zero = T::Vector::<S>::splat(T::Compute::ZERO);
        let one = T::Vector::<S>::splat(T::Compute::ONE);
        let reference = T::Vector::<S>::splat(reference);
        let series_end = T::Vector::<S>::splat(series_end);
        let factor = T::Vector::<S>::splat(gradient.factor);
        let share = T::Vector::<S>::splat(gradient.share);
        let [first, second, third] = gradient.series;
        let series = [T::Vector::<S>::splat(first), T::Vector::<S>::splat(second), T::Vector::<S>::splat(third)];
        let weighted = !piece.weights.is_null();
        let streamed = if stream { whole_lines(to, piece.len) } else { 0..piece.len };
        let mut at = 0;
        while at < piece.len {
            let whole = at >= streamed.start && at + GROUP * lanes <= streamed.end;
            if whole && !holds(piece.without, at, GROUP * lanes) {
                let mut e = [zero; GROUP];
                each_of_group!(i => { e[i] = exponentials(piece, at + i * lanes, reference); });
                let largest = e[0].max(e[1]).max(e[2].max(e[3]));
                if !largest.any_above(series_end) {
                    each_of_group!(i => {
                        let w = if weighted { T::Vector::<S>::load(piece.weights.add(at)) } else { one };
                        let g = from_series(e[i], w, factor, share, &series, weighted);
                        if stream {
                            T::stream::<S>(g, to.add(at));
                        } else {
                            T::store::<S>(g, to.add(at));
                        }
                        at += lanes;
                    });
                    continue;
                }
            }
            let stop = if at < streamed.start {
                streamed.start
            } else if at < streamed.end {
                (at + GROUP * lanes).min(streamed.end)
            } else {
                piece.len
            };
            while at < stop {
                let from = clamp(at, lanes, piece.len);
                let w = if piece.weights.is_null() { one } else { T::Vector::<S>::load(piece.weights.add(from)) };
                let e = exponentials(piece, from, reference);
                let log_p = if curve.is_power() {
                    logarithms(piece, from, reference, T::Vector::<S>::splat(log_sum))
                } else {
                    zero
                };
                let r = curve.pull(e.mul(T::Vector::<S>::splat(inverse)), log_p);
                let whole = e.mul(factor).sub(w.mul(T::Vector::<S>::splat(gradient.bonus_share).mul_add(r, share)));
                // the same bits as in a group without a larger one
                let g = series_end.if_less(e, whole, from_series(e, w, factor, share, &series, weighted));
                let [label, top] = gradient.without;
                let (label, top) = (T::Vector::<S>::splat(label), T::Vector::<S>::splat(top));
                let g = replace(replace(g, from, piece.without[0], label), from, piece.without[1], top);
                let count = lanes.min(stop - at);
                if stream && (from < at || count < lanes) {
                    // a line of which only a part belongs to this piece
                    let mut few = MaybeUninit::<[T; MOST_LANES]>::uninit();
                    T::store::<S>(g, few.as_mut_ptr().cast());
                    copy_few(few.as_ptr().cast::<T>().add(at - from), to.add(at), count);
                } else if stream && streamed.contains(&at) {
                    T::stream::<S>(g, to.add(at));
                } else {
                    T::store::<S>(g, to.add(from));
                }
                at += count;
            }
        }
    }
}
