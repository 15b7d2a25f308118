/* The elementwise part of the vector kernels: exp, tanh, softplus, elu; included by
 * kernels_vector.h. Each function is a short polynomial after a reduction of its argument, accurate
 * to 2 units in the last place, and the same code for whole vectors and for the last part of an
 * array. */

/* exp(x) for x within -87 .. 88: 2^n (1 + p), n whole, p = exp(r) - 1, |r| <= ln(2)/2, by Taylor's
 * series to r^7 (the rest is under 2^-26 of p). Operands are in the order that lets a NaN through.
 */
ALWAYS vec exp_v(vec x)
{
    x = v_min(v_set(88.0f), v_max(v_set(-87.0f), x));
    /* ln 2 in two parts, so that r keeps its last places. */
    const vec n = v_round(v_mul(x, v_set(1.44269504f)));
    vec r = v_fma(n, v_set(-0.693359375f), x);
    r = v_fma(n, v_set(2.12194440e-4f), r);
    vec q = v_set(1.0f / 5040.0f);
    q = v_fma(q, r, v_set(1.0f / 720.0f));
    q = v_fma(q, r, v_set(1.0f / 120.0f));
    q = v_fma(q, r, v_set(1.0f / 24.0f));
    q = v_fma(q, r, v_set(1.0f / 6.0f));
    q = v_fma(q, r, v_set(0.5f));
    const vec p = v_fma(v_mul(r, r), q, r);
    const vec s = v_power_of_2(n);
    return v_fma(s, p, s);
}

/* exp(x) - 1 for x of at most 80. With x / ln(2) = n + f, n whole, |f| <= 1/2:
 *
 *     s p + (s - 1),   s = 2^n,   p = 2^f - 1 by a polynomial (within 1.1e-8 of p)
 *
 * The rounding of the quotient costs |x| 2^-24 of exp(x). That is negligible against exp(x) - 1
 * when x is small, and against 1 when it is not. */
ALWAYS vec expm1_v(vec x)
{
    const vec t = v_mul(x, v_set(1.44269504f));
    const vec n = v_round(t);
    const vec f = v_sub(t, n);
    vec q = v_set(1.54035124e-4f);
    q = v_fma(q, f, v_set(1.33907355e-3f));
    q = v_fma(q, f, v_set(9.61823749e-3f));
    q = v_fma(q, f, v_set(5.55035743e-2f));
    q = v_fma(q, f, v_set(2.40226498e-1f));
    q = v_fma(q, f, v_set(6.93147188e-1f));
    const vec s = v_power_of_2(n);
    return v_fma(s, v_mul(q, f), v_sub(s, v_set(1.0f)));
}

/* With e = exp(2x) - 1: e / (e + 2). Beyond |x| = 10 a float's tanh is 1, and the quotient may come
 * out a bit beyond it, which no tanh is. */
ALWAYS vec tanh_v(vec x)
{
    x = v_min(v_set(10.0f), v_max(v_set(-10.0f), x));
    const vec e = expm1_v(v_add(x, x));
    const vec y = v_quotient(e, v_add(e, v_set(2.0f)));
    return v_min(v_set(1.0f), v_max(v_set(-1.0f), y));
}

/* Both sides are computed; what a large x makes of the exponential is not taken. */
ALWAYS vec elu_v(vec x)
{
    return v_above_0(x, x, expm1_v(v_max(v_set(-87.0f), x)));
}

/* max(x, 0) + log(1 + t), t = exp(-|x|), as 2 atanh(w), w = t / (2 + t) <= 1/3, by its series to
 * w^15. */
ALWAYS vec softplus_v(vec x)
{
    const vec t = exp_v(v_sub(v_set(0.0f), v_abs(x)));
    const vec w = v_div(t, v_add(t, v_set(2.0f)));
    const vec w2 = v_mul(w, w);
    vec q = v_set(2.0f / 15.0f);
    q = v_fma(q, w2, v_set(2.0f / 13.0f));
    q = v_fma(q, w2, v_set(2.0f / 11.0f));
    q = v_fma(q, w2, v_set(2.0f / 9.0f));
    q = v_fma(q, w2, v_set(2.0f / 7.0f));
    q = v_fma(q, w2, v_set(2.0f / 5.0f));
    q = v_fma(q, w2, v_set(2.0f / 3.0f));
    const vec log1p = v_fma(v_mul(w, w2), q, v_add(w, w));
    return v_add(v_max(v_set(0.0f), x), log1p);
}

/* name(y, x, n): whole vectors, then the rest under a mask. */
#define ELEMENTWISE(name, function)                                                                \
    static void name(float *y, const float *x, size_t n)                                           \
    {                                                                                              \
        size_t i = 0;                                                                              \
        for (; i + LANES <= n; i += LANES) {                                                       \
            v_store(y + i, function(v_load(x + i)));                                               \
        }                                                                                          \
        if (i < n) {                                                                               \
            const lanes rest = v_lanes((int)(n - i));                                              \
            v_store_part(rest, y + i, function(v_load_part(rest, x + i)));                         \
        }                                                                                          \
    }
ELEMENTWISE(exp_n, exp_v)
ELEMENTWISE(tanh_n, tanh_v)
ELEMENTWISE(softplus_n, softplus_v)
ELEMENTWISE(elu_n, elu_v)
#undef ELEMENTWISE
