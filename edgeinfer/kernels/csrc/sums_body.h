/* Sums of products with packed weights, and the canonical order of summation.
 *
 * Weights [K, N] are packed by groups of up to four vectors of columns, a group's rows one after the other, so that a
 * group is read once from its beginning to its end. For columns that belong to units (core.h) a group is a block of
 * whole units, and the units left over have their gates packed together.
 *
 * A pre-activation is summed in this order, whatever the op, the batch, the number of steps or the lane:
 *
 *     p, q = bias, 0                  x in two contiguous segments, each k ascending:
 *     p = fma(x[k], W[k], p)          k in [0, F - F/2)
 *     q = fma(x[k], W[k], q)          k in [F - F/2, F)
 *     s = p + q
 *     p, q = s, 0                     then the H values of h in the same way, giving s
 *
 * Dense is the x part alone; a group of one or two vectors has four segments, of (K + 3)/4 values each but for the
 * last, joined as ((p + q) + r) + s. Dense with so few columns that they fill at most a quarter of a vector sums
 * along K instead (dense_body.h). A GRU with linear_before_reset keeps the parts of its candidate apart: Wb and x, Rb
 * and h.
 *
 * In memory the rows of two segments take turns, W[0], W[F - F/2], W[1], W[F - F/2 + 1], ..., so that side by side they
 * are read from front to back; those of four stand one after the other.
 *
 * No segment straddles x and h, so the x part may be computed for many steps at once, or read from a table, and be
 * the start value of the h part. The generic core's fma is a multiplication and an addition. */

/* Up to four sums of the same values: a group's vectors. Named, since arrays are spilt. */
typedef struct ei_sums {
    vf a, b, c, d;
} ei_sums;

EI_INLINE ei_sums ei_sums_zero(void)
{
    const vf zero = vf_set1(0.0f);
    return (ei_sums){zero, zero, zero, zero};
}

/* The first `vectors` vectors at w; the others are zero. */
EI_INLINE ei_sums ei_sums_load(const float *w, int vectors)
{
    const vf zero = vf_set1(0.0f);
    return (ei_sums){
        .a = vf_load(w),
        .b = vectors > 1 ? vf_load(w + EI_LANES) : zero,
        .c = vectors > 2 ? vf_load(w + 2 * EI_LANES) : zero,
        .d = vectors > 3 ? vf_load(w + 3 * EI_LANES) : zero,
    };
}

EI_INLINE void ei_sums_store(float *to, ei_sums s, int vectors)
{
    vf_store(to, s.a);
    if (vectors > 1)
        vf_store(to + EI_LANES, s.b);
    if (vectors > 2)
        vf_store(to + 2 * EI_LANES, s.c);
    if (vectors > 3)
        vf_store(to + 3 * EI_LANES, s.d);
}

EI_INLINE ei_sums ei_sums_add(ei_sums s, ei_sums t)
{
    return (ei_sums){vf_add(s.a, t.a), vf_add(s.b, t.b), vf_add(s.c, t.c), vf_add(s.d, t.d)};
}

EI_INLINE ei_sums ei_sums_fma(ei_sums s, float value, ei_sums w, int vectors)
{
    const vf v = vf_set1(value);
    s.a = vf_fma(v, w.a, s.a);
    if (vectors > 1)
        s.b = vf_fma(v, w.b, s.b);
    if (vectors > 2)
        s.c = vf_fma(v, w.c, s.c);
    if (vectors > 3)
        s.d = vf_fma(v, w.d, s.d);
    return s;
}

/* s + v W of one group in two segments, walked side by side so that twice as many sums are under way. Two passes at a
 * time take 5 % off LSTM 1,16 and 1,32; with four, loads of too many instructions come from L2 for Zen 5 to fetch ahead,
 * and 8,64 and 16,128 take 17 and 21 % longer. */
EI_INLINE ei_sums ei_sums_two(ei_sums s, const ei_f32 *v, int64_t n, const float *w, int vectors)
{
    const int64_t row = vectors * EI_LANES, half = (int64_t)((uint64_t)n / 2), first = n - half;
    const ei_f32 *vq = v + first;
    ei_sums t = ei_sums_zero();
    EI_TWO_PASSES
    for (int64_t k = half; k > 0; k--, v++, vq++, w += 2 * row) {
        s = ei_sums_fma(s, *v, ei_sums_load(w, vectors), vectors);
        t = ei_sums_fma(t, *vq, ei_sums_load(w + row, vectors), vectors);
    }
    if (first > half)
        s = ei_sums_fma(s, *v, ei_sums_load(w, vectors), vectors);
    return ei_sums_add(s, t);
}

/* Two groups at once, of so many vectors each: a group of fewer than four alone would wait for its own additions. */
EI_INLINE void ei_sums_two_beside(ei_sums *a, ei_sums *b, const ei_f32 *v, int64_t n, const float *a_w,
                                  const float *b_w, int a_vectors, int b_vectors)
{
    const int64_t a_row = a_vectors * EI_LANES, b_row = b_vectors * EI_LANES;
    const int64_t half = (int64_t)((uint64_t)n / 2), first = n - half;
    const ei_f32 *vq = v + first;
    ei_sums s = *a, t = ei_sums_zero(), p = *b, q = t;
    for (int64_t k = half; k > 0; k--, v++, vq++, a_w += 2 * a_row, b_w += 2 * b_row) {
        s = ei_sums_fma(s, *v, ei_sums_load(a_w, a_vectors), a_vectors);
        p = ei_sums_fma(p, *v, ei_sums_load(b_w, b_vectors), b_vectors);
        t = ei_sums_fma(t, *vq, ei_sums_load(a_w + a_row, a_vectors), a_vectors);
        q = ei_sums_fma(q, *vq, ei_sums_load(b_w + b_row, b_vectors), b_vectors);
    }
    if (first > half) {
        s = ei_sums_fma(s, *v, ei_sums_load(a_w, a_vectors), a_vectors);
        p = ei_sums_fma(p, *v, ei_sums_load(b_w, b_vectors), b_vectors);
    }
    *a = ei_sums_add(s, t);
    *b = ei_sums_add(p, q);
}

/* The same in four segments. */
EI_INLINE ei_sums ei_sums_four(ei_sums s, const ei_f32 *v, int64_t n, const float *w, int vectors)
{
    const int64_t row = vectors * EI_LANES, part = (n + 3) / 4;
    ei_sums t = ei_sums_zero(), u = t, last = t;
    const int64_t shortest = n - 3 * part;
    int64_t k = 0;
    for (; k < shortest; k++) {
        s = ei_sums_fma(s, v[k], ei_sums_load(w + k * row, vectors), vectors);
        t = ei_sums_fma(t, v[k + part], ei_sums_load(w + (k + part) * row, vectors), vectors);
        u = ei_sums_fma(u, v[k + 2 * part], ei_sums_load(w + (k + 2 * part) * row, vectors), vectors);
        last = ei_sums_fma(last, v[k + 3 * part], ei_sums_load(w + (k + 3 * part) * row, vectors), vectors);
    }
    for (; k < part; k++) {
        s = ei_sums_fma(s, v[k], ei_sums_load(w + k * row, vectors), vectors);
        if (k + part < n)
            t = ei_sums_fma(t, v[k + part], ei_sums_load(w + (k + part) * row, vectors), vectors);
        if (k + 2 * part < n)
            u = ei_sums_fma(u, v[k + 2 * part], ei_sums_load(w + (k + 2 * part) * row, vectors), vectors);
    }
    return ei_sums_add(ei_sums_add(ei_sums_add(s, t), u), last);
}

/* Several rows of values with the same weights. */
typedef struct ei_tile {
    ei_sums a, b, c, d;
} ei_tile;

EI_INLINE ei_tile ei_tile_add(ei_tile s, ei_tile t)
{
    return (ei_tile){ei_sums_add(s.a, t.a), ei_sums_add(s.b, t.b), ei_sums_add(s.c, t.c), ei_sums_add(s.d, t.d)};
}

/* s + v W of one group for up to EI_TILE_ROWS rows of values, `stride` apart, one segment after the other: each row
 * of W is read once for all of them. Bit for bit what ei_sums_two and ei_sums_four give. */
EI_INLINE ei_tile ei_sums_tile(ei_sums start, const ei_f32 *v, int64_t stride, int64_t n, const float *w, int vectors,
                               int rows, int segments)
{
    const ei_sums zero = ei_sums_zero();
    const int64_t part = segments == 2 ? n - n / 2 : (n + 3) / 4;
    ei_tile total = {start, start, start, start};
    for (int64_t first = 0, k = 0, segment = 0; segment < segments; segment++, first += part) {
        const int64_t end = first + part < n && segment + 1 < segments ? first + part : n;
        ei_tile s = segment == 0 ? total : (ei_tile){zero, zero, zero, zero};
        const int64_t place = segments == 2 && segment == 1 ? 1 - 2 * part : 0;
        for (; k < end; k++) {
            const ei_sums weights =
                ei_sums_load(w + (segments == 2 ? 2 * k + place : k) * vectors * EI_LANES, vectors);
            s.a = ei_sums_fma(s.a, v[k], weights, vectors);
            if (rows > 1)
                s.b = ei_sums_fma(s.b, v[k + stride], weights, vectors);
            if (rows > 2)
                s.c = ei_sums_fma(s.c, v[k + 2 * stride], weights, vectors);
            if (rows > 3)
                s.d = ei_sums_fma(s.d, v[k + 3 * stride], weights, vectors);
        }
        total = segment == 0 ? s : ei_tile_add(total, s);
    }
    return total;
}
