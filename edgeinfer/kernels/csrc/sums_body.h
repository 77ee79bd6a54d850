/* The canonical order of summation.
 *
 * A pre-activation is summed in this order, whatever the op, the batch, the number of steps or the lane:
 *
 *     s = bias
 *     s = fma(x[k], W[k], s)          k ascending over all columns of x: one chain
 *     p, q = s, 0                     then the H values of h in two contiguous segments, each k ascending:
 *     p = fma(h[k], R[k], p)          k in [0, H/2)
 *     q = fma(h[k], R[k], q)          k in [H/2, H)
 *     s = p + q
 *
 * Dense is the x chain alone. A GRU with linear_before_reset keeps the parts of its candidate apart: Wb and the x
 * chain, Rb and the segments of h.
 *
 * No segment straddles x and h, so the x part may be computed for many steps at once, or read from a table, and be
 * the start value of the h part. Four segments measured no faster than two for H from 16 to 512 with one, three or
 * four gates. The generic core's fma is a multiplication and an addition. */

/* Up to four sums of the same values: the gates of a block, or blocks, or rows. Named, since arrays are spilt. */
typedef struct ei_sums {
    vf a, b, c, d;
} ei_sums;

/* The vectors at w, w + gate, ...; those past `gates` are not read. */
EI_INLINE ei_sums ei_sums_load(const float *w, int64_t gate, int gates)
{
    const vf zero = vf_set1(0.0f);
    return (ei_sums){
        .a = vf_load(w),
        .b = gates > 1 ? vf_load(w + gate) : zero,
        .c = gates > 2 ? vf_load(w + 2 * gate) : zero,
        .d = gates > 3 ? vf_load(w + 3 * gate) : zero,
    };
}

EI_INLINE ei_sums ei_sums_add(ei_sums s, ei_sums t)
{
    return (ei_sums){vf_add(s.a, t.a), vf_add(s.b, t.b), vf_add(s.c, t.c), vf_add(s.d, t.d)};
}

EI_INLINE ei_sums ei_sums_fma(ei_sums s, float value, const float *w, int64_t gate, int gates)
{
    const vf v = vf_set1(value);
    s.a = vf_fma(v, vf_load(w), s.a);
    if (gates > 1)
        s.b = vf_fma(v, vf_load(w + gate), s.b);
    if (gates > 2)
        s.c = vf_fma(v, vf_load(w + 2 * gate), s.c);
    if (gates > 3)
        s.d = vf_fma(v, vf_load(w + 3 * gate), s.d);
    return s;
}

/* One chain: x. The weights of v[k] begin at w + k*row, those of the next sum `gate` floats further. */
EI_INLINE ei_sums ei_sums_chain(ei_sums s, const ei_f32 *v, int64_t n, const float *w, int64_t gate, int64_t row,
                                int gates)
{
    for (int64_t k = 0; k < n; k++)
        s = ei_sums_fma(s, v[k], w + k * row, gate, gates);
    return s;
}

/* Two segments, walked side by side so that twice as many sums are under way: h. */
EI_INLINE ei_sums ei_sums_segments(ei_sums s, const ei_f32 *v, int64_t n, const float *w, int64_t gate, int64_t row,
                                   int gates)
{
    const vf zero = vf_set1(0.0f);
    const int64_t half = n / 2;
    ei_sums t = {zero, zero, zero, zero};
    for (int64_t k = 0; k < half; k++) {
        s = ei_sums_fma(s, v[k], w + k * row, gate, gates);
        t = ei_sums_fma(t, v[half + k], w + (half + k) * row, gate, gates);
    }
    if (n & 1)
        t = ei_sums_fma(t, v[n - 1], w + (n - 1) * row, gate, gates);
    return ei_sums_add(s, t);
}
