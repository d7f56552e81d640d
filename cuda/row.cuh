// What all kernels do with a row besides reading it: its label, its loss, what its gradient is multiplied by.
#pragma once

#include "margin.cuh"
#include "running.cuh"
#include "team.cuh"

DEVICE i64 label_of(const Problem &p, i64 row) {
    return p.labels_are_64_bit ? ((const i64 *)p.labels)[row] : (i64)((const i32 *)p.labels)[row];
}

// The label of a row.
template <class R> struct Target {
    i64 label;
    R weight;
    bool counts;
    R fill; // loss, margin and gradient where it does not count: 0 if ignored, NaN if the label is out of range

    // That of a row that is not there.
    static DEVICE Target none() {
        Target t;
        t.label = -1;
        t.weight = t.fill = 0;
        t.counts = false;
        return t;
    }

    template <class T> static DEVICE Target of(const Problem &p, const T *logits, i64 row) {
        return of_label(p, logits, label_of(p, row));
    }

    template <class T> static DEVICE Target of_label(const Problem &p, const T *, i64 label) {
        Target t;
        t.label = label;
        const bool ignored = p.has_ignore_index && t.label == p.ignore_index;
        t.counts = !ignored && t.label >= 0 && t.label < p.classes;
        t.fill = ignored ? (R)0 : nan_of<R>();
        t.weight = 0;
        if (t.counts) t.weight = p.class_weights ? (R)Element<T>::widen(((const T *)p.class_weights)[t.label]) : (R)1;
        return t;
    }
};

// weight * x, where a weight of 0 takes infinity out too.
template <class R> DEVICE R weighted(R weight, R x) {
    return weight == 0 && (x == infinity<R>() || x == -infinity<R>()) ? (R)0 : weight * x;
}

// What a row's gradient is made of: `label` at the label, and for the others their share of the rest.
template <class R> struct Gradient {
    R shift, others, label;
    bool endless_logits;

    // The same for all classes, where z is 0 for all.
    static DEVICE Gradient constant(R value) {
        Gradient g;
        g.shift = 0;
        g.others = g.label = value;
        g.endless_logits = false;
        return g;
    }

    // Of logits that went through `endless` where it is asked for.
    DEVICE R of(R z) const { return others * fast_exp(z - shift); }
};

// Losses of one thread's rows; kept in double, so that the sum has the digits of its terms.
struct Totals {
    double loss, weight;
};

template <class T, class R> struct RowEnd {
    const Problem &p;
    MarginLoss<R> f;
    R share;
    Totals totals;

    DEVICE explicit RowEnd(const Problem &problem) : p(problem), f(problem) {
        const double divisor = p.weight_sum ? *p.weight_sum : 1.0;
        share = (R)(p.weight_sum ? (divisor == 0 ? 0.0 : 1 / divisor) : p.share);
        totals.loss = totals.weight = 0;
    }

    // How much of the row's loss is in the output, times what comes from above.
    DEVICE R scale(i64 row, R weight) const {
        const R dloss = p.dloss ? (R)Element<T>::widen(((const T *)p.dloss)[p.dloss_per_row ? row : 0]) : (R)1;
        return weight * share * dloss;
    }

    // For one thread of those that share the row.
    DEVICE void write(i64 row, const Target<R> &target, R loss, R m) {
        write_weighted(row, target, weighted(target.weight, loss), m);
    }

    // The same for a loss that has the class weights in it.
    DEVICE void write_weighted(i64 row, const Target<R> &target, R loss, R m) {
        const R value = target.counts ? loss : target.fill;
        totals.loss += (double)value;
        totals.weight += (double)target.weight;
        if (p.losses) ((T *)p.losses)[row] = Element<T>::narrow(value);
        if (p.margins) p.margins[row] = target.counts ? (float)-m : (float)target.fill;
    }

    // The soft margin loss m of a row whose label has the logit z.
    static DEVICE R margin_loss(const Others<R> &others, R z) { return (others.max - z) + log_of(others.sum); }

    DEVICE Gradient<R> gradient(i64 row, const Target<R> &target, const Others<R> &others, R slope) const {
        Gradient<R> g;
        const R all = slope * scale(row, target.weight);
        g.endless_logits = others.max == infinity<R>();
        g.shift = shift_of(others.max);
        // all others masked: none has a share
        g.others = others.sum == 0 ? 0 * all : all / others.sum;
        g.label = -all;
        return g;
    }

    // The same from the margin that the forward pass saved, without reading the row: e^(z' - z) * e^-m is the share.
    DEVICE Gradient<R> gradient_from_margin(i64 row, const Target<R> &target, R z, R m) const {
        R loss, slope;
        f.evaluate(m, loss, slope);
        Gradient<R> g;
        const R all = slope * scale(row, target.weight);
        g.endless_logits = false;
        g.shift = z;
        g.others = all * exp_of(-m);
        g.label = -all;
        return g;
    }

    // Whether a saved margin has digits enough for that: half an ulp at 32 is 2e-6 of the gradient. Not for double, and
    // never if it is NaN.
    static DEVICE bool is_exact(float m) { return sizeof(R) == 4 && fabsf(m) <= 32; }

    // The block's sums to where `reduce` finds them.
    DEVICE void publish() {
        if (!p.partials) return;
        __shared__ double slots[MOST_WARPS];
        const double loss = over_block<Sum>(totals.loss, slots);
        const double weight = over_block<Sum>(totals.weight, slots);
        if (threadIdx.x == 0) {
            p.partials[2 * blockIdx.x] = loss;
            p.partials[2 * blockIdx.x + 1] = weight;
        }
    }
};
