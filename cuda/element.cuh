// Types of logits: what they are computed in, and sixteen bytes of them at a time.
#pragma once

#include "problem.cuh"

// inlined whatever the compiler thinks, and not static: names of static functions carry a hash of the path
#define DEVICE __device__ __forceinline__
#define KERNEL extern "C" __global__ void

struct f16 { u16 bits; };
struct bf16 { u16 bits; };

// Sixteen bytes, what one thread loads or stores at once.
struct alignas(16) Vector { u32 words[4]; };

template <class R> DEVICE R infinity();
template <> DEVICE float infinity<float>() { return __int_as_float(0x7f800000); }
template <> DEVICE double infinity<double>() { return __longlong_as_double(0x7ff0000000000000); }

template <class R> DEVICE R nan_of();
template <> DEVICE float nan_of<float>() { return __int_as_float(0x7fc00000); }
template <> DEVICE double nan_of<double>() { return __longlong_as_double(0x7ff8000000000000); }

// How a type is stored: `Compute` is what is computed in, PER_VECTOR elements make sixteen bytes.
template <class T> struct Element;

template <> struct Element<float> {
    typedef float Compute;
    enum { PER_VECTOR = 4 };
    enum : u32 { MINUS_INFINITY = 0xff800000 };
    static DEVICE float widen(float x) { return x; }
    static DEVICE float narrow(float x) { return x; }
    static DEVICE float from_double(double x) { return (float)x; }
    static DEVICE void unpack(const Vector &v, float (&x)[4]) {
#pragma unroll
        for (int k = 0; k < 4; k++) x[k] = __uint_as_float(v.words[k]);
    }
    static DEVICE Vector pack(const float (&x)[4]) {
        Vector v;
#pragma unroll
        for (int k = 0; k < 4; k++) v.words[k] = __float_as_uint(x[k]);
        return v;
    }
};

template <> struct Element<double> {
    typedef double Compute;
    static DEVICE double widen(double x) { return x; }
    static DEVICE double narrow(double x) { return x; }
    static DEVICE double from_double(double x) { return x; }
};

// The two types of sixteen bits differ in their conversions only.
template <class T, class Conversion> struct HalfElement {
    typedef float Compute;
    enum { PER_VECTOR = 8 };
    enum : u32 { MINUS_INFINITY = (u32)Conversion::MINUS_INFINITY };
    static DEVICE float widen(T x) { return Conversion::widen(x.bits); }
    static DEVICE T narrow(float x) {
        T y;
        y.bits = Conversion::narrow(x);
        return y;
    }
    static DEVICE T from_double(double x) { return narrow((float)x); }
    static DEVICE void unpack(const Vector &v, float (&x)[8]) {
#pragma unroll
        for (int k = 0; k < 4; k++) {
            x[2 * k] = Conversion::low(v.words[k]);
            x[2 * k + 1] = Conversion::high(v.words[k]);
        }
    }
    static DEVICE Vector pack(const float (&x)[8]) {
        Vector v;
#pragma unroll
        for (int k = 0; k < 4; k++) v.words[k] = Conversion::both(x[2 * k], x[2 * k + 1]);
        return v;
    }
};

struct Float16Conversion {
    enum : u32 { MINUS_INFINITY = 0xfc00 };
    static DEVICE float widen(u16 bits) {
        float x;
        asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
        return x;
    }
    static DEVICE u16 narrow(float x) {
        u16 bits;
        asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
        return bits;
    }
    static DEVICE float low(u32 word) { return widen((u16)word); }
    static DEVICE float high(u32 word) { return widen((u16)(word >> 16)); }
    static DEVICE u32 both(float low, float high) {
        u32 word;
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
        return word;
    }
};

struct Bfloat16Conversion {
    enum : u32 { MINUS_INFINITY = 0xff80 };
    static DEVICE float widen(u16 bits) { return __uint_as_float((u32)bits << 16); }
    static DEVICE u16 narrow(float x) {
        u16 bits;
        asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
        return bits;
    }
    static DEVICE float low(u32 word) { return __uint_as_float(word << 16); }
    static DEVICE float high(u32 word) { return __uint_as_float(word & 0xffff0000); }
    static DEVICE u32 both(float low, float high) {
        u32 word;
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
        return word;
    }
};

template <> struct Element<f16> : HalfElement<f16, Float16Conversion> {};
template <> struct Element<bf16> : HalfElement<bf16, Bfloat16Conversion> {};

// A vector of which no element takes part in anything.
template <class T> DEVICE Vector absent() {
    const u32 word = Element<T>::MINUS_INFINITY;
    Vector v;
#pragma unroll
    for (int k = 0; k < 4; k++) v.words[k] = sizeof(T) == 4 ? word : word << 16 | word;
    return v;
}

// One element of a vector, to be taken out of it.
template <class T> struct Place {
    enum { PER_WORD = 4 / sizeof(T) };
    u32 word, bits;

    DEVICE explicit Place(u32 at)
        : word(at / PER_WORD), bits(PER_WORD == 1 ? 0xffffffffu : 0xffffu << at % PER_WORD * 16) {}

    // All words are written: where the compiler sees a choice among them, it puts them into local memory and indexes that.
    DEVICE void remove_from(Vector &v) const {
        const u32 nothing = PER_WORD == 1 ? Element<T>::MINUS_INFINITY : Element<T>::MINUS_INFINITY * 0x10001u;
#pragma unroll
        for (u32 k = 0; k < 4; k++) {
            const u32 mask = k == word ? bits : 0;
            v.words[k] = (v.words[k] & ~mask) | (nothing & mask);
        }
    }
};
