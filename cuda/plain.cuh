// Rows in any layout, number by number: an inner axis between the classes, few classes, double.
#pragma once

#include "row.cuh"

// Numbers that a thread has under way.
template <class R> struct AtOnce {
    enum { COUNT = sizeof(R) == 4 ? 8 : 4 };
};

// The logits of a row, which lie `stride` apart.
template <class T> struct StridedRow {
    i64 start, stride, classes;

    DEVICE StridedRow(const Problem &p, i64 row) : stride(p.inner), classes(p.classes) {
        const i64 batch = p.inner == 1 ? row : row / p.inner;
        start = batch * p.classes * p.inner + (p.inner == 1 ? 0 : row - batch * p.inner);
    }
    DEVICE i64 index(i64 c) const { return start + c * stride; }
    DEVICE typename Element<T>::Compute at(const Problem &p, i64 c) const {
        return Element<T>::widen(((const T *)p.logits)[index(c)]);
    }
    DEVICE void set(const Problem &p, i64 c, typename Element<T>::Compute value) const {
        ((T *)p.dlogits)[index(c)] = Element<T>::narrow(value);
    }
};

// A team's part of the classes but the label.
template <class T, class Team> DEVICE Running<typename Element<T>::Compute> sum_up(
    const Problem &p, const StridedRow<T> &row, i64 label
) {
    typedef typename Element<T>::Compute R;
    enum { NUMBERS_AT_ONCE = AtOnce<R>::COUNT };
    Running<R> running;
    for (i64 first = Team::member(); first < row.classes; first += NUMBERS_AT_ONCE * Team::members()) {
        R x[NUMBERS_AT_ONCE];
#pragma unroll
        for (int k = 0; k < NUMBERS_AT_ONCE; k++) {
            const i64 c = first + k * Team::members();
            x[k] = c < row.classes && c != label ? row.at(p, c) : -infinity<R>();
        }
        running.add(x);
    }
    return running;
}

template <class T, class Team> DEVICE void plain(const Problem &p) {
    typedef typename Element<T>::Compute R;
    RowEnd<T, R> end(p);
    for (i64 first = blockIdx.x * Team::rows_of_block(); first < p.rows; first += gridDim.x * Team::rows_of_block()) {
        const i64 at = first + Team::row_of_thread();
        const bool exists = at < p.rows;
        const StridedRow<T> row(p, exists ? at : 0);
        Target<R> target = Target<R>::none();
        if (exists) target = Target<R>::of(p, (const T *)p.logits, at);
        const R z = target.counts ? row.at(p, target.label) : (R)0;

        Gradient<R> g = Gradient<R>::constant(target.fill);
        // a team that has no barriers may go its own way
        if (Team::ALONE && target.counts && p.saved_margins && RowEnd<T, R>::is_exact(p.saved_margins[at])) {
            g = end.gradient_from_margin(at, target, z, -(R)p.saved_margins[at]);
        } else {
            Running<R> running;
            if (target.counts) running = sum_up<T, Team>(p, row, target.label);
            running.rescale(Team::template over_team<Max>(running.max));
            running.sum = Team::template over_team<Sum>(running.sum);
            const Others<R> others(running);
            const R m = RowEnd<T, R>::margin_loss(others, z);
            R loss, slope;
            end.f.evaluate(m, loss, slope);
            if (exists && Team::member() == 0) end.write(at, target, loss, m);
            if (target.counts) g = end.gradient(at, target, others, slope);
        }
        if (!p.dlogits || !exists) continue;
        // the reductions came after everybody's reading of z: who writes over it comes after them
#pragma unroll(AtOnce<R>::COUNT / 2)
        for (i64 c = Team::member(); c < row.classes; c += Team::members()) {
            R x = target.counts ? row.at(p, c) : (R)0;
            if (g.endless_logits) x = endless(x);
            row.set(p, c, target.counts && c == target.label ? g.label : g.of(x));
        }
    }
    end.publish();
}
