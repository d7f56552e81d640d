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

    DEVICE void load(const T *row, const Pieces<T> &pieces, int classes, int lane, int lanes) {
#pragma unroll
        for (int i = 0; i < VECTORS; i++) {
            const int at = lane + i * lanes;
            if (at < pieces.vectors) body[i] = load_vector(row + pieces.head + at * N);
        }
        if (lane < pieces.head) ends[0] = Element<T>::widen(row[lane]);
        const int last = pieces.tail + lane;
        if (last < classes) ends[1] = Element<T>::widen(row[last]);
    }

    DEVICE void remove_label(const Pieces<T> &pieces, int label, int lane, int lanes) {
        const int in_body = label - pieces.head;
        if (lane == label && label < pieces.head) ends[0] = -infinity<float>();
        if (label >= pieces.tail && lane == label - pieces.tail) ends[1] = -infinity<float>();
        if (in_body < 0 || label >= pieces.tail) return;
#pragma unroll
        for (int i = 0; i < VECTORS; i++) {
            if (lane + i * lanes == in_body / N) remove<T>(body[i], in_body % N);
        }
    }

    // Calls `visit` with PER_VECTOR numbers at a time.
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

    DEVICE float max(int lanes) const {
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

    DEVICE float sum(float shift, int lanes) const {
        float total = 0;
        each([&](float x) { total += fast_exp(x - shift); });
        return over_lanes<Sum>(total, lanes);
    }

    DEVICE void store_gradient(
        T *row, const Pieces<T> &pieces, int classes, const Gradient<float> &g, int label, bool aligned, int lane,
        int lanes
    ) const {
        const int in_body = label >= pieces.head && label < pieces.tail ? (label - pieces.head) / N : -1;
#pragma unroll
        for (int i = 0; i < VECTORS; i++) {
            const int at = lane + i * lanes;
            if (at < pieces.vectors) {
                float x[N];
                Element<T>::unpack(body[i], x);
#pragma unroll
                for (int k = 0; k < N; k++) x[k] = g.of(x[k]);
                if (at == in_body) {
#pragma unroll
                    for (int k = 0; k < N; k++) x[k] = k == (label - pieces.head) % N ? g.label : x[k];
                }
                store_elements(row + pieces.head + at * N, x, aligned);
            }
        }
        if (lane < pieces.head) row[lane] = Element<T>::narrow(lane == label ? g.label : g.of(ends[0]));
        const int last = pieces.tail + lane;
        if (last < classes) row[last] = Element<T>::narrow(last == label ? g.label : g.of(ends[1]));
    }
};

template <class T, int VECTORS, bool GRADIENT> DEVICE void rows_in_registers(const Problem &p) {
    const int lanes = p.lanes, lane = threadIdx.x % lanes, classes = (int)p.classes;
    const i64 rows_of_block = blockDim.x / lanes;
    RowEnd<T, float> end(p);

    // warps stay together: the rows of a warp are begun even where only some are there
    for (i64 first = blockIdx.x * rows_of_block; first < p.rows; first += gridDim.x * rows_of_block) {
        const i64 row = first + threadIdx.x / lanes;
        const bool exists = row < p.rows;
        const T *logits = (const T *)p.logits + (exists ? row : 0) * p.classes;
        const Pieces<T> pieces(logits, classes);
        RowInRegisters<T, VECTORS> numbers;
        numbers.clear();
        Target<float> target = Target<float>::none();
        float z = 0;
        if (exists) {
            target = Target<float>::of(p, logits, row);
            if (target.counts) {
                numbers.load(logits, pieces, classes, lane, lanes);
                z = Element<T>::widen(logits[target.label]);
                numbers.remove_label(pieces, (int)target.label, lane, lanes);
            }
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
                const int label = target.counts ? (int)target.label : -1;
                numbers.store_gradient(dlogits, pieces, classes, g, label, aligned, lane, lanes);
            }
        }
    }
    end.publish();
}
