// f(m) and f'(m), as in src/loss/margin.rs: every loss of the family as a function of one number a row.
#pragma once

#include "element.cuh"

// The functions of double are called, not inlined: they are long, and double is not what anybody is in a hurry with.
#define CALLED __device__ __noinline__

CALLED double exp_of(double x) { return exp(x); }
CALLED double log_of(double x) { return log(x); }
CALLED double log1p_of(double x) { return log1p(x); }
CALLED double sinpi_of(double x) { return sinpi(x); }

// precise, a few times a row
DEVICE float exp_of(float x) { return expf(x); }
DEVICE float log_of(float x) { return logf(x); }
DEVICE float log1p_of(float x) { return log1pf(x); }
DEVICE float sinpi_of(float x) { return sinpif(x); }

// e^x as the sums over classes take it: x is at most 0, and what is below the smallest normal number is 0.
DEVICE float fast_exp(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x * 1.4426950408889634f));
    return y;
}
DEVICE double fast_exp(double x) { return exp_of(x); }

DEVICE float larger(float a, float b) { return fmaxf(a, b); }
DEVICE double larger(double a, double b) { return fmax(a, b); }

#define PI 3.141592653589793

template <class R> struct MarginLoss {
    R rho, log_end, log_end_value, steepness, power;
    i32 bonus;

    DEVICE explicit MarginLoss(const Problem &p) {
        // what the host would refuse is found out too late here: everything is NaN then
        const R given = p.bonus_weight ? (R)*p.bonus_weight : (R)p.rho;
        rho = given >= 0 && given < infinity<R>() ? given : nan_of<R>();
        log_end = (R)p.log_end;
        log_end_value = (R)p.log_end_value;
        steepness = (R)p.steepness;
        power = (R)p.power;
        bonus = p.bonus;
    }

    DEVICE void evaluate(R m, R &value, R &slope) const {
        const R e = exp_of(-fabs_of(m));
        const R large = 1 / (1 + e), small = e * large;
        const R q = m < 0 ? small : large, p = m < 0 ? large : small;
        const R rest = log1p_of(e);
        const R cross_entropy = (m > 0 ? m : 0) + rest;
        if (rho == 0) {
            value = cross_entropy;
            slope = q;
        } else if (bonus == BONUS_LOG && !(q < 1 - log_end)) {
            value = (m < 0 ? rho * m : m) + (1 - rho) * rest;
            // p + q may miss 1 by a digit; NaN stays
            slope = rho == 1 && m == m ? (R)1 : q + rho * p;
        } else if (bonus == BONUS_LOG) {
            // (p - log_end) / (1 - log_end), from q: it has the digits where p and log_end are both close to 1
            value = cross_entropy + rho * (log_end_value - (1 - q * steepness));
            slope = q * (1 + rho * p * steepness);
        } else if (bonus == BONUS_POWER) {
            const R weighted = rho * exp_of(-power * cross_entropy);
            value = cross_entropy - weighted;
            slope = q * (1 + power * weighted);
        } else {
            const R sine = sinpi_of(p / 2);
            value = cross_entropy - 2 * rho * sine * sine;
            slope = q * (1 + rho * (R)PI * p * sinpi_of(p));
        }
    }

    static DEVICE float fabs_of(float x) { return fabsf(x); }
    static DEVICE double fabs_of(double x) { return fabs(x); }
};
