// Label smoothing: every class j has its own m_j, and the loss of a row is the sum of a_j * f(m_j).
//
// With w the class weights, e the smoothing and y the label (PyTorch's convention), p the softmax over all classes:
//
//     a_j = e / C * w_j + (1 - e) * w_y * [j = y]
//     h_j = f'(m_j) / (1 - p_j)
//     gradient of class k = p_k * sum of a_j * h_j - a_k * h_k
//
// At most one class, the top one, has a p above one half. It and the label are kept out of all sums, so that their 1 - p
// never cancels; the rest is computed straight from p, f(m_j) = log(sum of e^z) - z_j + rho * b(p_j). R is what is computed
// in: few classes can have a gradient far smaller than all of its terms, and take double.
#pragma once

#include "plain.cuh"

// log(sum of e^z) as two numbers that must not be added: logits may be far larger than their differences.
template <class R> struct LogSum {
    R max, log_sum;

    DEVICE LogSum(const Running<R> &r) : max(r.max), log_sum(log_of(r.sum)) {}
    // log of the sum of e^z over e^z
    DEVICE R above(R z) const { return (max - z) + log_sum; }
    // e^z over the sum of e^z; of what is masked nothing, of +infinity all
    DEVICE R share(R z) const {
        return z == -infinity<R>() ? (R)0 : exp_of((z == max ? (R)0 : z - max) - log_sum);
    }
};

template <class R> DEVICE Running<R> with(Running<R> r, R z) {
    R x[1] = {z};
    r.add(x);
    return r;
}

// rho * b(p) and h for classes with p up to about one half.
template <class R> DEVICE void small_bonus(const MarginLoss<R> &f, R p, R &bonus, R &h) {
    R b = 0, r = 0;
    if (f.rho == 0) {
    } else if (f.bonus == BONUS_LOG && !(p > f.log_end)) {
        b = log1p_of(-p);
        r = p / (1 - p);
    } else if (f.bonus == BONUS_LOG) {
        b = f.log_end_value - (p - f.log_end) * f.steepness;
        r = p * f.steepness;
    } else if (f.bonus == BONUS_POWER) {
        const R raised = p == 0 ? (R)0 : exp_of(f.power * log_of(p));
        b = -raised;
        r = f.power * raised;
    } else {
        const R sine = sinpi_of(p / 2);
        b = -2 * sine * sine;
        r = (R)PI * p * sinpi_of(p);
    }
    bonus = f.rho * b;
    h = 1 + f.rho * r;
}

// A class that is kept out of the sums: its a * f(m) and a * f'(m).
template <class R> struct Apart {
    R loss, slope;

    DEVICE Apart(const MarginLoss<R> &f, R a, R m) {
        R value, derivative;
        f.evaluate(m, value, derivative);
        loss = weighted(a, value);
        slope = a * derivative;
    }
};

template <class T, class R, class Team> struct SmoothRow {
    const Problem &p;
    const MarginLoss<R> &f;
    const StridedRow<T> row;
    const Target<R> target;
    const i32 label, members;
    const i32 begin; // of this thread's classes: none where the row does not count

    DEVICE SmoothRow(const Problem &problem, const MarginLoss<R> &loss, i64 at, const Target<R> &t)
        : p(problem), f(loss), row(problem, at), target(t), label(t.counts ? (i32)t.label : -1),
          members((i32)Team::members()), begin(t.counts ? (i32)Team::member() : (i32)problem.classes) {}

    DEVICE R logit(i32 c) const { return (R)row.at(c); }

    DEVICE R share_of(i32 c) const {
        const R weight = p.class_weights ? (R)Element<T>::widen(((const T *)p.class_weights)[c]) : (R)1;
        const R smoothing = (R)p.smoothing;
        const R spread = smoothing / (R)p.classes * weight;
        return c == label ? (1 - smoothing) * target.weight + spread : spread;
    }

    // The first class with the largest logit.
    DEVICE i32 top() const {
        R most = -infinity<R>();
        i32 which = 0x7fffffff;
        for (i32 c = begin; c < row.classes; c += members) {
            const R z = logit(c);
            if (z > most) {
                most = z;
                which = c;
            }
        }
        const R largest = Team::template over_team<Max>(most);
        return Team::template over_team<Min>(most == largest ? which : 0x7fffffff);
    }

    // The classes but label and top.
    DEVICE Running<R> sum_of_rest(i32 top) const {
        enum { COUNT = AtOnce<R>::COUNT };
        Running<R> rest;
        const SumWithout<R> add = {rest, label, top, members};
        i32 c = begin;
        for (; c + (COUNT - 1) * members < row.classes; c += COUNT * members) {
            R x[COUNT];
#pragma unroll
            for (int k = 0; k < COUNT; k++) x[k] = logit(c + k * members);
            add(x, c);
        }
        for (; c < row.classes; c += members) {
            R x[1] = {logit(c)};
            add(x, c);
        }
        rest.rescale(Team::template over_team<Max>(rest.max));
        rest.sum = Team::template over_team<Sum>(rest.sum);
        return rest;
    }
};

// The row's loss without the classes kept out, and the sum of a * h.
template <class R> struct SmoothSums {
    R loss, slope;
};

template <class T, class R, class Team> DEVICE SmoothSums<R> smooth_sums(
    const SmoothRow<T, R, Team> &row, i32 top, const LogSum<R> &all
) {
    SmoothSums<R> sums = {0, 0};
    for (i32 c = row.begin; c < row.row.classes; c += row.members) {
        if (c == row.label || c == top) continue;
        const R z = row.logit(c), a = row.share_of(c);
        R bonus, h;
        small_bonus(row.f, all.share(z), bonus, h);
        sums.loss += weighted(a, all.above(z) + bonus);
        sums.slope += a * h;
    }
    sums.loss = Team::template over_team<Sum>(sums.loss);
    sums.slope = Team::template over_team<Sum>(sums.slope);
    return sums;
}

template <class T, class R, class Team> DEVICE void smooth(const Problem &p) {
    RowEnd<T, R> end(p);
    for (i64 first = blockIdx.x * Team::rows_of_block(); first < p.rows; first += gridDim.x * Team::rows_of_block()) {
        const i64 at = first + Team::row_of_thread();
        const bool exists = at < p.rows;
        Target<R> target = Target<R>::none();
        if (exists) target = Target<R>::of(p, (const T *)p.logits, at);
        const SmoothRow<T, R, Team> row(p, end.f, exists ? at : 0, target);

        const i32 found = row.top();
        // no class has a number: the label stands in, and everything is NaN below
        const i32 label = row.label, top = found == 0x7fffffff ? label : found;
        const Running<R> rest = row.sum_of_rest(top);
        const R z_label = target.counts ? row.logit(label) : (R)0;
        const R z_top = target.counts ? row.logit(top) : (R)0;
        const bool apart = top != label;
        const LogSum<R> all(apart ? with(with(rest, z_label), z_top) : with(rest, z_label));
        const LogSum<R> without_label(apart ? with(rest, z_top) : rest);
        const LogSum<R> without_top(with(rest, z_label));
        const R m = without_label.above(z_label);

        const Apart<R> label_part(end.f, target.counts ? row.share_of(label) : (R)0, m);
        const Apart<R> top_part(end.f, target.counts && apart ? row.share_of(top) : (R)0, without_top.above(z_top));
        const SmoothSums<R> sums = smooth_sums(row, top, all);
        // what has no limit: several +infinity, nothing but -infinity, NaN
        const bool undetermined = m != m || found == 0x7fffffff || rest.max == infinity<R>();
        R loss = label_part.loss + sums.loss + (apart ? top_part.loss : (R)0);
        if (undetermined) loss = nan_of<R>();
        if (exists && Team::member() == 0) end.write_weighted(at, target, loss, m);

        if (!p.dlogits || !exists) continue;
        const R scale = target.counts ? end.scale(at, 1) : (R)1;
        for (i32 c = (i32)Team::member(); c < row.row.classes; c += row.members) {
            if (!target.counts || undetermined) {
                row.row.set(c, target.counts ? nan_of<R>() : target.fill);
                continue;
            }
            // reading after the reductions: nobody else's numbers are read any more
            const R z = c == label ? z_label : c == top ? z_top : row.logit(c);
            const R share = all.share(z);
            R g = share * sums.slope;
            if (c == label) {
                g -= label_part.slope;
            } else {
                g += label_part.slope * without_label.share(z);
            }
            if (apart && c == top) g -= top_part.slope;
            if (apart && c != top) g += top_part.slope * without_top.share(z);
            if (c != label && c != top) {
                R bonus, h;
                small_bonus(end.f, share, bonus, h);
                g -= row.share_of(c) * h;
            }
            row.row.set(c, g * scale);
        }
    }
    end.publish();
}
