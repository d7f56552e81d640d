// Sums of exponentials that are corrected as larger logits come: one read of a row.
#pragma once

#include "margin.cuh"
#include "team.cuh"

// In place of logits where some are +infinity: those are all there is.
template <class R> DEVICE R endless(R z) { return z == infinity<R>() ? (R)0 : z == z ? -infinity<R>() : z; }

template <class R, int COUNT> DEVICE void make_endless(R (&z)[COUNT]) {
#pragma unroll
    for (int k = 0; k < COUNT; k++) z[k] = endless(z[k]);
}

// What is taken off a logit before its exponential: the largest one, but it must be finite.
template <class R> DEVICE R shift_of(R max) { return max == infinity<R>() || max == -infinity<R>() ? (R)0 : max; }

// Largest logit so far, and the sum of e^(z - max); with a logit of +infinity, how many of them there are. NaN stays in
// the sum.
template <class R> struct Running {
    R max, sum;

    DEVICE Running() : max(-infinity<R>()), sum(0) {}

    // Takes the numbers as its own: it may change them.
    template <int COUNT> DEVICE void add(R (&x)[COUNT]) {
        R most = max;
#pragma unroll
        for (int k = 0; k < COUNT; k++) most = larger(most, x[k]);
        rescale(most);
        if (most == infinity<R>()) make_endless(x);
        const R shift = shift_of(most);
        R total = 0;
#pragma unroll
        for (int k = 0; k < COUNT; k++) total += fast_exp(x[k] - shift);
        sum += total;
    }

    // The sum for a larger maximum.
    DEVICE void rescale(R most) {
        if (most != max) sum *= fast_exp(max - most);
        max = most;
    }
};

// What the classes other than the label add up to: sum of e^(z - shift), where shift is their largest logit.
//
// With a logit of +infinity, which takes all, `sum` counts how many have it, and e^(z - shift) is 1 for those and 0 for
// the others.
template <class R> struct Others {
    R max, sum;

    DEVICE Others() {}
    DEVICE explicit Others(const Running<R> &running) : max(running.max), sum(running.sum) {}
};
