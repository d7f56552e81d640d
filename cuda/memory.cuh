// Loads and stores of logits and gradients.
//
// Each number is read once or twice and written once, so all of it passes L1 by. Loads are never ld.global.nc: a gradient
// may be written over its logits, and memory read that way must not change during the launch.
#pragma once

#include "element.cuh"

DEVICE Vector load_vector(const void *from) {
    Vector v;
    asm volatile("ld.global.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.words[0]), "=r"(v.words[1]), "=r"(v.words[2]), "=r"(v.words[3])
                 : "l"(from)
                 : "memory");
    return v;
}

DEVICE void store_vector(void *to, const Vector &v) {
    asm volatile("st.global.L1::no_allocate.v4.u32 [%0], {%1, %2, %3, %4};"
                 :
                 : "l"(to), "r"(v.words[0]), "r"(v.words[1]), "r"(v.words[2]), "r"(v.words[3])
                 : "memory");
}

// Sixteen bytes from global to shared memory, without a register and without waiting.
DEVICE void copy_vector_to_shared(Vector *to, const void *from) {
    const u32 shared = (u32)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" : : "r"(shared), "l"(from) : "memory");
}

// All copies of this thread have arrived; it may read them. Other threads may not, without a barrier.
DEVICE void wait_for_copies() { asm volatile("cp.async.wait_all;" : : : "memory"); }

// A row as sixteen-byte vectors: `head` elements before the first sixteen-byte boundary, `vectors` of them, then the
// tail. Head and tail have fewer than PER_VECTOR elements each.
//
// Numbers within a row have 32 bits, rows and everything that adds them up has 64.
template <class T> struct Pieces {
    i32 head, vectors;
    i32 tail; // index of its first element

    DEVICE Pieces(const T *row, i32 classes) {
        const i32 per_vector = Element<T>::PER_VECTOR;
        const i32 before = (i32)((16 - (u32)(u64)row % 16) % 16 / sizeof(T));
        head = before < classes ? before : classes;
        vectors = (i32)((u32)(classes - head) / per_vector);
        tail = head + vectors * per_vector;
    }
};

// Both rows have their sixteen-byte boundaries at the same elements.
template <class T> DEVICE bool same_alignment(const T *a, const T *b) { return (((u64)a ^ (u64)b) & 15) == 0; }

template <class T> DEVICE void store_elements(T *to, const float (&x)[Element<T>::PER_VECTOR], bool aligned) {
    if (aligned) {
        store_vector(to, Element<T>::pack(x));
    } else {
#pragma unroll
        for (int k = 0; k < Element<T>::PER_VECTOR; k++) to[k] = Element<T>::narrow(x[k]);
    }
}
