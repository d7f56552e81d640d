// Short rows: `lanes` neighbouring threads hold a row in registers, a warp holds 32 / lanes rows. One read.
//
// A lane has up to one element of the head, one of the tail, and VECTORS vectors of sixteen bytes; what it doesn't have is
// minus infinity, and so is the label's logit: the sums are over the other classes. lanes >= PER_VECTOR - 1.
#pragma once

#include "memory.cuh"
#include "row.cuh"

template <class T, int VECTORS> struct RowInRegisters {
    enum { N = Element<T>::PER_VECTOR };

    Vector body[VECTORS];
    float ends[2]; // an element of the head, one of the tail

    DEVICE void clear() {
#pragma unroll
        for (int i = 0; i < VECTORS; i++) body[i] = absent<T>();
        ends[0] = ends[1] = -infinity<float>();
    }

    DEVICE void fill_with_zeros() {
#pragma unroll
        for (int i = 0; i < VECTORS; i++) body[i] = Vector{{0, 0, 0, 0}};
        ends[0] = ends[1] = 0;
    }

    DEVICE void load(const T *row, const Pieces<T> &pieces, i32 classes, i32 lane, i32 lanes) {
        const T *from = row + pieces.head + lane * N;
#pragma unroll
        for (i32 i = 0; i < VECTORS; i++) {
            if (lane + i * lanes < pieces.vectors) body[i] = load_vector(from + i * lanes * N);
        }
        if (lane < pieces.head) ends[0] = Element<T>::widen(row[lane]);
        if (lane < classes - pieces.tail) ends[1] = Element<T>::widen(row[pieces.tail + lane]);
    }

    DEVICE void remove_label(const Pieces<T> &pieces, i32 label, i32 lane, i32 lanes) {
        if (lane == label && label < pieces.head) ends[0] = -infinity<float>();
        if (lane == label - pieces.tail) ends[1] = -infinity<float>();
        const u32 in_body = (u32)(label - pieces.head);
        if (in_body >= (u32)(pieces.tail - pieces.head)) return;
        const Place<T> place(in_body % N);
#pragma unroll
        for (i32 i = 0; i < VECTORS; i++) {
            if (lane + i * lanes == in_body / N) place.remove_from(body[i]);
        }
    }

    // Calls `visit` with each number.
    template <class Visit> DEVICE void each(Visit visit) const {
#pragma unroll
        for (int i = 0; i < VECTORS; i++) {
            float x[N];
            Element<T>::unpack(body[i], x);
#pragma unroll
            for (int k = 0; k < N; k++) visit(x[k]);
        }
        visit(ends[0]);
        visit(ends[1]);
    }

    DEVICE float max(i32 lanes) const {
        float most = -infinity<float>();
        each([&](float x) { most = fmaxf(most, x); });
        return over_lanes<Max>(most, lanes);
    }

    // The compiler would keep every number it has unpacked for the next pass; the packed ones take half the registers.
    DEVICE void forget_unpacked() {
#pragma unroll
        for (int i = 0; i < VECTORS; i++) {
#pragma unroll
            for (int k = 0; k < 4; k++) asm volatile("" : "+r"(body[i].words[k]));
        }
    }

    // Seldom.
    DEVICE void make_endless() {
#pragma unroll
        for (int i = 0; i < VECTORS; i++) {
            float x[N];
            Element<T>::unpack(body[i], x);
            ::make_endless(x);
            body[i] = Element<T>::pack(x);
        }
        ::make_endless(ends);
    }

    DEVICE float sum(float shift, i32 lanes) const {
        float total = 0;
        each([&](float x) { total += fast_exp(x - shift); });
        return over_lanes<Sum>(total, lanes);
    }

    // Whoever writes the vector with the label writes the label again.
    DEVICE void store_gradient(
        T *row, const Pieces<T> &pieces, i32 classes, const Gradient<float> &g, i32 label, bool aligned, i32 lane, i32 lanes
    ) const {
        const u32 in_body = (u32)(label - pieces.head);
        T *to = row + pieces.head + lane * N;
#pragma unroll
        for (i32 i = 0; i < VECTORS; i++) {
            if (lane + i * lanes < pieces.vectors) {
                float x[N];
                Element<T>::unpack(body[i], x);
#pragma unroll
                for (int k = 0; k < N; k++) x[k] = g.of(x[k]);
                store_elements(to + i * lanes * N, x, aligned);
            }
        }
        if (lane < pieces.head) row[lane] = Element<T>::narrow(g.of(ends[0]));
        if (lane < classes - pieces.tail) row[pieces.tail + lane] = Element<T>::narrow(g.of(ends[1]));
        const bool mine = label < pieces.head    ? lane == label
                          : label >= pieces.tail ? lane == label - pieces.tail
                                                 : lane == in_body / N % lanes;
        if (label >= 0 && mine) row[label] = Element<T>::narrow(g.label);
    }
};

template <class T, int VECTORS, bool GRADIENT> DEVICE void rows_in_registers(const Problem &p) {
    const i32 lanes = p.lanes, lane = threadIdx.x % lanes, classes = (i32)p.classes;
    const i64 rows_of_block = blockDim.x / lanes;
    const bool all_count = !p.has_ignore_index;
    RowEnd<T, float> end(p);

    // warps stay together: the rows of a warp are begun even where only some are there
    for (i64 first = blockIdx.x * rows_of_block; first < p.rows; first += gridDim.x * rows_of_block) {
        const i64 row = first + threadIdx.x / lanes;
        const bool exists = row < p.rows;
        const T *logits = (const T *)p.logits + (exists ? row : 0) * p.classes;
        const Pieces<T> pieces(logits, classes);
        RowInRegisters<T, VECTORS> numbers;
        numbers.clear();
        // the label tells whether the row is read at all; where it cannot, the row does not wait for it
        if (exists && (all_count || Target<float>::of(p, logits, row).counts)) {
            numbers.load(logits, pieces, classes, lane, lanes);
        }
        Target<float> target = Target<float>::none();
        float z = 0;
        if (exists) target = Target<float>::of(p, logits, row);
        if (target.counts) {
            z = Element<T>::widen(logits[target.label]);
            numbers.remove_label(pieces, (i32)target.label, lane, lanes);
        }
        Others<float> others;
        others.max = numbers.max(lanes);
        if (others.max == infinity<float>()) numbers.make_endless();
        numbers.forget_unpacked();
        others.sum = numbers.sum(shift_of(others.max), lanes);
        numbers.forget_unpacked();

        const float m = RowEnd<T, float>::margin_loss(others, z);
        float loss, slope;
        end.f.evaluate(m, loss, slope);
        if (exists && lane == 0) end.write(row, target, loss, m);
        if (GRADIENT) {
            // all lanes have read, z above all, before one of them writes over it
            __syncwarp();
            if (exists) {
                T *dlogits = (T *)p.dlogits + row * p.classes;
                const bool aligned = same_alignment(logits, (const T *)dlogits);
                if (!target.counts) numbers.fill_with_zeros();
                const Gradient<float> g =
                    target.counts ? end.gradient(row, target, others, slope) : Gradient<float>::constant(target.fill);
                const i32 label = target.counts ? (i32)target.label : -1;
                numbers.store_gradient(dlogits, pieces, classes, g, label, aligned, lane, lanes);
            }
        }
    }
    end.publish();
}
