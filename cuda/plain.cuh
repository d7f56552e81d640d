// Rows in any layout, number by number: an inner axis between the classes, few classes, double.
#pragma once

#include "row.cuh"

// Numbers that a thread has under way.
template <class R> struct AtOnce {
    enum { COUNT = sizeof(R) == 4 ? 8 : 4 };
};

// The logits of a row, which lie `stride` apart, and their gradient.
template <class T> struct StridedRow {
    typedef typename Element<T>::Compute R;
    const T *from;
    T *to;
    i64 stride;
    i32 classes;

    DEVICE StridedRow(const Problem &p, i64 row) : stride(p.inner), classes((i32)p.classes) {
        const i64 batch = p.inner == 1 ? row : row / p.inner;
        const i64 start = batch * p.classes * p.inner + (p.inner == 1 ? 0 : row - batch * p.inner);
        from = (const T *)p.logits + start;
        to = (T *)p.dlogits + start;
    }
    DEVICE R at(i32 c) const { return Element<T>::widen(from[c * stride]); }
    DEVICE void set(i32 c, R value) const { to[c * stride] = Element<T>::narrow(value); }
};

// Calls `visit` for a team's part of the classes `begin`, `begin` + members ..., COUNT at once: their numbers are on their
// way together.
template <int COUNT, class T, class Team, class Visit> DEVICE void each_class(
    const StridedRow<T> &row, i32 begin, Team, Visit visit
) {
    typedef typename Element<T>::Compute R;
    const i32 members = (i32)Team::members();
    const i64 step = members * row.stride;
    const T *from = row.from + begin * row.stride;
    i32 c = begin;
    for (; c + (COUNT - 1) * members < row.classes; c += COUNT * members, from += COUNT * step) {
        R x[COUNT];
#pragma unroll
        for (int k = 0; k < COUNT; k++) x[k] = Element<T>::widen(from[k * step]);
        visit(x, c);
    }
    for (; c < row.classes; c += members, from += step) {
        R x[1] = {Element<T>::widen(*from)};
        visit(x, c);
    }
}

// A team's part of the classes but the label and one more.
template <class R> struct SumWithout {
    Running<R> &running;
    i32 label, other, members;

    template <int COUNT> DEVICE void operator()(R (&x)[COUNT], i32 first) const {
#pragma unroll
        for (int k = 0; k < COUNT; k++) {
            const i32 c = first + k * members;
            if (c == label || c == other) x[k] = -infinity<R>();
        }
        running.add(x);
    }
};

// Each gradient where its logit is, which has been read: in place they are the same memory.
template <class T> struct StoreGradient {
    typedef typename Element<T>::Compute R;
    const StridedRow<T> &row;
    const Gradient<R> &g;
    i32 label, members;

    template <int COUNT> DEVICE void operator()(R (&x)[COUNT], i32 first) const {
        if (g.endless_logits) make_endless(x);
        T *to = row.to + first * row.stride;
        const i64 step = members * row.stride;
#pragma unroll
        for (int k = 0; k < COUNT; k++) {
            to[k * step] = Element<T>::narrow(first + k * members == label ? g.label : g.of(x[k]));
        }
    }
};

template <class T, class Team> DEVICE void plain(const Problem &p) {
    typedef typename Element<T>::Compute R;
    RowEnd<T, R> end(p);
    for (i64 first = blockIdx.x * Team::rows_of_block(); first < p.rows; first += gridDim.x * Team::rows_of_block()) {
        const i64 at = first + Team::row_of_thread();
        const bool exists = at < p.rows;
        const StridedRow<T> row(p, exists ? at : 0);
        const i32 members = (i32)Team::members(), member = (i32)Team::member();
        Target<R> target = Target<R>::none();
        if (exists) target = Target<R>::of(p, (const T *)p.logits, at);
        const i32 label = target.counts ? (i32)target.label : -1;
        const R z = target.counts ? row.at(label) : (R)0;

        Gradient<R> g = Gradient<R>::constant(target.fill);
        // a team that has no barriers may go its own way
        if (Team::ALONE && target.counts && p.saved_margins && RowEnd<T, R>::is_exact(p.saved_margins[at])) {
            g = end.gradient_from_margin(at, target, z, -(R)p.saved_margins[at]);
        } else {
            Running<R> running;
            if (target.counts) {
                each_class<AtOnce<R>::COUNT>(row, member, Team(), SumWithout<R>{running, label, label, members});
            }
            running.rescale(Team::template over_team<Max>(running.max));
            running.sum = Team::template over_team<Sum>(running.sum);
            const Others<R> others(running);
            const R m = RowEnd<T, R>::margin_loss(others, z);
            R loss, slope;
            end.f.evaluate(m, loss, slope);
            if (exists && member == 0) end.write(at, target, loss, m);
            if (target.counts) g = end.gradient(at, target, others, slope);
        }
        if (!p.dlogits || !exists) continue;
        // the reductions came after everybody's reading of z: who writes over it comes after them
        if (target.counts) {
            each_class<AtOnce<R>::COUNT / 2>(row, member, Team(), StoreGradient<T>{row, g, label, members});
        } else {
            for (i32 c = member; c < row.classes; c += members) row.set(c, target.fill);
        }
    }
    end.publish();
}
