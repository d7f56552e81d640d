// Long rows: a block works on one row at a time, in vectors of sixteen bytes.
//
// Forward: one read, sums that are corrected as larger logits come. Gradient: the same, then a second look at the row,
// which lies in shared memory (staged) or, if it is too long for that, in L2 (two passes).
#pragma once

#include "memory.cuh"
#include "row.cuh"

// Where a thread's vectors of the row are read from. A thread reads those at threadIdx.x + i * blockDim.x, nobody
// else's: nothing has to be waited for but its own copies.
template <class T> struct InGlobal {
    enum { READS_TWICE = true };
    const T *body;

    DEVICE void begin(const T *row, const Pieces<T> &pieces) { body = row + pieces.head; }
    DEVICE Vector at(i32 i) const { return load_vector(body + i * Element<T>::PER_VECTOR); }
};

template <class T> struct InShared {
    enum { READS_TWICE = false };
    Vector *staged;

    DEVICE void begin(const T *row, const Pieces<T> &pieces) {
        extern __shared__ Vector row_in_shared[];
        staged = row_in_shared;
        const T *body = row + pieces.head;
        for (i32 i = (i32)threadIdx.x; i < pieces.vectors; i += (i32)blockDim.x) {
            copy_vector_to_shared(staged + i, body + i * Element<T>::PER_VECTOR);
        }
        wait_for_copies();
    }
    DEVICE Vector at(i32 i) const { return staged[i]; }
};

template <class T, class Source> struct LongRow {
    enum {
        N = Element<T>::PER_VECTOR,
        AT_ONCE = 16 / N // vectors that a thread has under way: sixteen numbers in registers
    };

    const T *row;
    i32 classes, label;
    Pieces<T> pieces;
    Source source;

    DEVICE LongRow(const T *of, i32 count, i32 y) : row(of), classes(count), label(y), pieces(of, count) {
        source.begin(row, pieces);
    }

    // The vector that holds the label, and where in it.
    DEVICE i32 vector_of_label() const {
        return label >= pieces.head && label < pieces.tail ? (label - pieces.head) / N : -1;
    }
    DEVICE u32 place_of_label() const { return (u32)(label - pieces.head) % N; }

    DEVICE float element(i32 i) const { return i == label ? -infinity<float>() : Element<T>::widen(row[i]); }

    DEVICE void add_ends(Running<float> &running) const {
        const i32 last = pieces.tail + (i32)threadIdx.x;
        float x[2] = {-infinity<float>(), -infinity<float>()};
        if ((i32)threadIdx.x < pieces.head) x[0] = element(threadIdx.x);
        if (last < classes) x[1] = element(last);
        running.add(x);
    }

    template <int COUNT> struct Batch { Vector v[COUNT]; };

    // Every blockDim.x-th vector from `first` on.
    template <int COUNT> DEVICE Batch<COUNT> read(i32 first) const {
        Batch<COUNT> batch;
#pragma unroll
        for (int j = 0; j < COUNT; j++) batch.v[j] = source.at(first + j * (i32)blockDim.x);
        return batch;
    }

    template <int COUNT> DEVICE void add(Running<float> &running, Batch<COUNT> batch, i32 first) const {
        const i32 special = vector_of_label();
        float x[COUNT * N];
#pragma unroll
        for (int j = 0; j < COUNT; j++) {
            if (first + j * (i32)blockDim.x == special) Place<T>(place_of_label()).remove_from(batch.v[j]);
            float part[N];
            Element<T>::unpack(batch.v[j], part);
#pragma unroll
            for (int k = 0; k < N; k++) x[j * N + k] = part[k];
        }
        running.add(x);
    }

    // This thread's part. The next vectors are on their way while these are added.
    DEVICE Running<float> sum_up() const {
        Running<float> running;
        add_ends(running);
        const i32 threads = (i32)blockDim.x, end = pieces.vectors - (AT_ONCE - 1) * threads;
        i32 i = (i32)threadIdx.x;
        if (i < end) {
            Batch<AT_ONCE> batch = read<AT_ONCE>(i);
            for (bool more = true; more; i += AT_ONCE * threads) {
                const i32 next = i + AT_ONCE * threads;
                Batch<AT_ONCE> following = batch;
                more = next < end;
                if (more) following = read<AT_ONCE>(next);
                add(running, batch, i);
                batch = following;
            }
        }
        for (; i < pieces.vectors; i += threads) add(running, read<1>(i), i);
        return running;
    }

    DEVICE void store_gradient(T *to, const Gradient<float> g) const {
        // in place too, all that is read here is this thread's own
        const i32 last = pieces.tail + (i32)threadIdx.x;
        if ((i32)threadIdx.x < pieces.head) store_end(to, threadIdx.x, g);
        if (last < classes) store_end(to, last, g);
        const bool aligned = same_alignment(row, (const T *)to);
        i32 i = (i32)threadIdx.x;
        for (; i + (AT_ONCE - 1) * (i32)blockDim.x < pieces.vectors; i += AT_ONCE * (i32)blockDim.x) {
            store_vectors<AT_ONCE>(to, i, g, aligned);
        }
        for (; i < pieces.vectors; i += (i32)blockDim.x) store_vectors<1>(to, i, g, aligned);
    }

    DEVICE void store_end(T *to, i32 i, const Gradient<float> &g) const {
        float z = Element<T>::widen(row[i]);
        if (g.endless_logits) z = endless(z);
        to[i] = Element<T>::narrow(i == label ? g.label : g.of(z));
    }

    template <int COUNT> DEVICE void store_vectors(T *to, i32 first, const Gradient<float> &g, bool aligned) const {
        const Batch<COUNT> batch = read<COUNT>(first);
        const i32 special = vector_of_label();
#pragma unroll
        for (int j = 0; j < COUNT; j++) {
            const i32 i = first + j * (i32)blockDim.x;
            float x[N];
            Element<T>::unpack(batch.v[j], x);
            if (g.endless_logits) make_endless(x);
#pragma unroll
            for (int k = 0; k < N; k++) x[k] = g.of(x[k]);
            store_elements(to + pieces.head + i * N, x, aligned);
            // the same thread writes the label again
            if (i == special) to[label] = Element<T>::narrow(g.label);
        }
    }
};

DEVICE void over_warp(Running<float> &running) {
    running.rescale(over_lanes<Max>(running.max, 32));
    running.sum = over_lanes<Sum>(running.sum, 32);
}

// Adds up over the block; for all threads. Two sets of slots in turn: a warp may be a row ahead of another that still
// reads, but never two.
DEVICE Others<float> over_block(Running<float> running, int turn) {
    __shared__ float largest[2][MOST_WARPS], sums[2][MOST_WARPS];
    over_warp(running);
    if (lane_of_warp() == 0) {
        largest[turn][warp_of_block()] = running.max;
        sums[turn][warp_of_block()] = running.sum;
    }
    __syncthreads();
    Running<float> total;
    if (lane_of_warp() < warps_of_block()) {
        total.max = largest[turn][lane_of_warp()];
        total.sum = sums[turn][lane_of_warp()];
    }
    over_warp(total);
    return Others<float>(total);
}

template <class T> DEVICE void fill_row(T *row, i32 classes, float value) {
    const Pieces<T> pieces(row, classes);
    const T element = Element<T>::narrow(value);
    float x[Element<T>::PER_VECTOR];
#pragma unroll
    for (int k = 0; k < Element<T>::PER_VECTOR; k++) x[k] = value;
    const i32 last = pieces.tail + (i32)threadIdx.x;
    if ((i32)threadIdx.x < pieces.head) row[threadIdx.x] = element;
    if (last < classes) row[last] = element;
    const Vector v = Element<T>::pack(x);
    for (i32 i = (i32)threadIdx.x; i < pieces.vectors; i += (i32)blockDim.x) {
        store_vector(row + pieces.head + i * Element<T>::PER_VECTOR, v);
    }
}

// Loss and margin of a row, for one thread of the block; the slope.
template <class T> DEVICE float end_row(
    RowEnd<T, float> &end, i64 row, const Target<float> &target, const Others<float> &others, float z
) {
    const float m = RowEnd<T, float>::margin_loss(others, z);
    float loss, slope;
    end.f.evaluate(m, loss, slope);
    end.write(row, target, loss, m);
    return slope;
}

template <class T> DEVICE void long_rows_forward(const Problem &p) {
    RowEnd<T, float> end(p);
    int turn = 0;
    for (i64 row = blockIdx.x; row < p.rows; row += gridDim.x) {
        const T *logits = (const T *)p.logits + row * p.classes;
        const Target<float> target = Target<float>::of(p, logits, row);
        if (!target.counts) {
            if (threadIdx.x == 0) end.write(row, target, 0, 0);
            continue;
        }
        const LongRow<T, InGlobal<T>> numbers(logits, (i32)p.classes, (i32)target.label);
        const Others<float> others = over_block(numbers.sum_up(), turn);
        turn ^= 1;
        if (threadIdx.x == 0) end_row(end, row, target, others, Element<T>::widen(logits[target.label]));
    }
    end.publish();
}

template <class T, class Source> DEVICE void long_rows_gradient(const Problem &p) {
    __shared__ Gradient<float> gradient;
    RowEnd<T, float> end(p);
    int turn = 0;
    for (i64 row = blockIdx.x; row < p.rows; row += gridDim.x) {
        const T *logits = (const T *)p.logits + row * p.classes;
        T *dlogits = (T *)p.dlogits + row * p.classes;
        const Target<float> target = Target<float>::of(p, logits, row);
        if (!target.counts) {
            if (threadIdx.x == 0) end.write(row, target, 0, 0);
            fill_row(dlogits, (i32)p.classes, target.fill);
            continue;
        }
        const LongRow<T, Source> numbers(logits, (i32)p.classes, (i32)target.label);
        if (Source::READS_TWICE && p.saved_margins && RowEnd<T, float>::is_exact(p.saved_margins[row])) {
            __syncthreads(); // the last row's gradient has been read
            if (threadIdx.x == 0) {
                const float z = Element<T>::widen(logits[target.label]);
                gradient = end.gradient_from_margin(row, target, z, -p.saved_margins[row]);
            }
        } else {
            const Others<float> others = over_block(numbers.sum_up(), turn);
            turn ^= 1;
            if (threadIdx.x == 0) {
                const float slope = end_row(end, row, target, others, Element<T>::widen(logits[target.label]));
                gradient = end.gradient(row, target, others, slope);
            }
        }
        __syncthreads();
        numbers.store_gradient(dlogits, gradient);
    }
    end.publish();
}
