/* Sums with weights of one or two bytes: float16, or int8 with a scale for each column (a unit's gate), computed from
 * as they are. What the units make of the sums stands in small_cells_body.h.
 *
 * The file that includes it has included a small_*.h, which gives, besides a vec_*.h: vf_load_i8 and vf_load_f16
 * (EI_LANES weights as floats), vf_any_nan, vf_store_i8 (rounded to the nearest, ties to even; |v| <= 127); vi,
 * 32-bit integers in as many lanes, with vi_load, vi_zero, vi_add, vi_to_vf; vquad, four 8-bit numbers for all lanes,
 * with vquad_load; and vi_dot, which adds each lane's four weights (EI_LANES * 4 bytes, lane after lane) times them.
 *
 * Three arithmetics, which the instruction names:
 *
 *   float16     the canonical order of sums_body.h, each weight widened: the bits of a float32 file with these
 *               weights
 *   int8        s = bias + w_scale * (x W), then s + r_scale * (h R), both by fma, the sums in the canonical order
 *               from zero with whole numbers as weights: a scale is applied once, at a sum's end
 *   int8 fast   x W likewise; h R with h in 8 bits, q = round(127 h) limited to [-127, 127]: the sums are whole and
 *               exact in 32 bits, so that their order and the instruction set do not matter, and r_scale is divided
 *               by 127. Where h holds a NaN, all units become NaN, as they would.
 *
 * A group (core.h) is: bias vectors; w_scale and r_scale of int8; 32-bit corrections of int8 fast (-128 times the sum
 * of a column's weights where the core adds 128 to q, else zeros); F rows of W; H rows of R, or of int8 fast one for
 * each four: lane after lane the weights of four values of h, zeros past H. W and R each are filled with zeros to
 * whole vectors of EI_LANES * 4 bytes. The gates of L units left over, and a GRU's four biases, always stand L apart. */

#define EI_VECTOR_BYTES (4 * EI_LANES)

/* Compile-time constants in all that is inlined. */
typedef struct ei_form {
    int kind, vectors;
} ei_form;

EI_INLINE int64_t ei_small_row(int kind, int64_t vectors)
{
    return vectors * EI_LANES * (kind == EI_WEIGHTS_F16 ? 2 : 1);
}

EI_INLINE int64_t ei_whole_vectors(int64_t bytes)
{
    return (bytes + EI_VECTOR_BYTES - 1) / EI_VECTOR_BYTES * EI_VECTOR_BYTES;
}

EI_INLINE int64_t ei_quads(int64_t hidden) { return (hidden + 3) / 4; }

EI_INLINE vf ei_small_load(int kind, const char *w, int64_t vector)
{
    return kind == EI_WEIGHTS_F16 ? vf_load_f16((const uint16_t *)(const void *)w + vector * EI_LANES)
                                  : vf_load_i8((const int8_t *)w + vector * EI_LANES);
}

EI_INLINE ei_sums ei_small_fma(ei_form f, ei_sums s, float value, const char *w)
{
    const vf v = vf_set1(value);
    s.a = vf_fma(v, ei_small_load(f.kind, w, 0), s.a);
    if (f.vectors > 1)
        s.b = vf_fma(v, ei_small_load(f.kind, w, 1), s.b);
    if (f.vectors > 2)
        s.c = vf_fma(v, ei_small_load(f.kind, w, 2), s.c);
    if (f.vectors > 3)
        s.d = vf_fma(v, ei_small_load(f.kind, w, 3), s.d);
    return s;
}

/* s + v W, as ei_sums_two. */
EI_INLINE ei_sums ei_small_two(ei_form f, ei_sums s, const ei_f32 *v, int64_t n, const char *w)
{
    const int64_t row = ei_small_row(f.kind, f.vectors), half = n / 2, first = n - half;
    const ei_f32 *v_upper = v + first;
    const char *w_upper = w + first * row;
    ei_sums t = ei_sums_zero();
    for (int64_t k = 0; k < half; k++) {
        s = ei_small_fma(f, s, v[k], w + k * row);
        t = ei_small_fma(f, t, v_upper[k], w_upper + k * row);
    }
    if (first > half)
        s = ei_small_fma(f, s, v[half], w + half * row);
    return n < 2 ? s : ei_sums_add(s, t);
}

EI_INLINE ei_sums ei_sums_scaled(ei_sums sums, const float *scale, ei_sums start, int vectors)
{
    const ei_sums by = ei_sums_load(scale, vectors);
    return (ei_sums){vf_fma(sums.a, by.a, start.a), vf_fma(sums.b, by.b, start.b), vf_fma(sums.c, by.c, start.c),
                     vf_fma(sums.d, by.d, start.d)};
}

/* What follows W in a group. */
typedef struct ei_small_rest {
    const float *r_scale;
    const int32_t *correction;
    const char *r;
} ei_small_rest;

typedef struct ei_whole_sums {
    vi a, b, c, d;
} ei_whole_sums;

EI_INLINE ei_whole_sums ei_small_dot(ei_form f, ei_whole_sums s, const int8_t *q, const char *row)
{
    const vquad four = vquad_load(q);
    const int8_t *w = (const int8_t *)row;
    s.a = vi_dot(s.a, four, w);
    if (f.vectors > 1)
        s.b = vi_dot(s.b, four, w + EI_VECTOR_BYTES);
    if (f.vectors > 2)
        s.c = vi_dot(s.c, four, w + 2 * EI_VECTOR_BYTES);
    if (f.vectors > 3)
        s.d = vi_dot(s.d, four, w + 3 * EI_VECTOR_BYTES);
    return s;
}

EI_INLINE ei_whole_sums ei_whole_load(const int32_t *p, int vectors)
{
    const vi zero = vi_zero();
    return (ei_whole_sums){
        .a = vi_load(p),
        .b = vectors > 1 ? vi_load(p + EI_LANES) : zero,
        .c = vectors > 2 ? vi_load(p + 2 * EI_LANES) : zero,
        .d = vectors > 3 ? vi_load(p + 3 * EI_LANES) : zero,
    };
}

/* The whole sums of one group, two of them side by side. */
EI_INLINE ei_sums ei_small_whole(ei_form f, const int32_t *correction, const int8_t *q, int64_t hidden, const char *w)
{
    const int64_t row = f.vectors * EI_VECTOR_BYTES, quads = ei_quads(hidden);
    const vi zero = vi_zero();
    ei_whole_sums s = ei_whole_load(correction, f.vectors), t = {zero, zero, zero, zero};
    int64_t k = 0;
    for (; k + 2 <= quads; k += 2) {
        s = ei_small_dot(f, s, q + 4 * k, w + k * row);
        t = ei_small_dot(f, t, q + 4 * k + 4, w + (k + 1) * row);
    }
    if (k < quads)
        s = ei_small_dot(f, s, q + 4 * k, w + k * row);
    return (ei_sums){vi_to_vf(vi_add(s.a, t.a)), vi_to_vf(vi_add(s.b, t.b)), vi_to_vf(vi_add(s.c, t.c)),
                     vi_to_vf(vi_add(s.d, t.d))};
}

/* bias + x W of the group at p, whose biases take so many bytes; *rest is what follows W. */
EI_INLINE ei_sums ei_small_x(ei_form f, const char *p, int64_t bias_bytes, const ei_f32 *x, int64_t inputs,
                             ei_small_rest *rest)
{
    const ei_sums bias = ei_sums_load((const float *)(const void *)p, f.vectors);
    p += bias_bytes;
    const float *const scales = (const float *)(const void *)p;
    if (f.kind != EI_WEIGHTS_F16)
        p += 2 * f.vectors * EI_VECTOR_BYTES;
    *rest = (ei_small_rest){scales + f.vectors * EI_LANES, (const int32_t *)(const void *)p, NULL};
    if (f.kind == EI_WEIGHTS_I8_FAST)
        p += f.vectors * EI_VECTOR_BYTES;
    rest->r = p + ei_whole_vectors(inputs * ei_small_row(f.kind, f.vectors));
    if (f.kind == EI_WEIGHTS_F16)
        return ei_small_two(f, bias, x, inputs, p);
    return ei_sums_scaled(ei_small_two(f, ei_sums_zero(), x, inputs, p), scales, bias, f.vectors);
}

/* The sums of the group at p to out: bias + x W + h R. Where c->apart is not 0, that many columns at the third gate
 * are kept apart: bias + x W goes to out + 4 * EI_LANES as well, and x W has no part in them in out, which start from
 * the fourth bias instead. */
EI_INLINE void ei_small_sums(ei_form f, const ei_small_call *c, const char *p, float *out)
{
    const ei_f32 *const bias = (const ei_f32 *)(const void *)p;
    const int64_t bias_bytes = c->apart ? ei_whole_vectors(16 * c->apart) : f.vectors * EI_VECTOR_BYTES;
    ei_small_rest rest;
    ei_sums s = ei_small_x(f, p, bias_bytes, c->x, c->inputs, &rest);
    if (c->apart != 0) {
        ei_sums_store(out + 4 * EI_LANES, s, f.vectors);
        ei_sums_store(out, s, f.vectors);
        for (int64_t k = 0; k < c->apart; k += EI_LANES)
            ei_units_store((ei_f32 *)out + 2 * c->apart + k, ei_units_load(bias + 3 * c->apart + k, c->apart - k),
                           c->apart - k);
        s = ei_sums_load(out, f.vectors);
    }
    if (f.kind == EI_WEIGHTS_F16)
        s = ei_small_two(f, s, c->h, c->hidden, rest.r);
    else if (f.kind == EI_WEIGHTS_I8)
        s = ei_sums_scaled(ei_small_two(f, ei_sums_zero(), c->h, c->hidden, rest.r), rest.r_scale, s, f.vectors);
    else
        s = ei_sums_scaled(ei_small_whole(f, rest.correction, c->q, c->hidden, rest.r), rest.r_scale, s, f.vectors);
    ei_sums_store(out, s, f.vectors);
}

#define EI_SMALL_SUMS(name, kind, vectors)                                                        \
    static EI_NOINLINE void EI_FN(name)(const ei_small_call *call, const char *group, float *out) \
    {                                                                                             \
        ei_small_sums((ei_form){kind, vectors}, call, group, out);                                \
    }

EI_SMALL_SUMS(ei_sums_fast_1, EI_WEIGHTS_I8_FAST, 1)
EI_SMALL_SUMS(ei_sums_fast_2, EI_WEIGHTS_I8_FAST, 2)
EI_SMALL_SUMS(ei_sums_fast_3, EI_WEIGHTS_I8_FAST, 3)
EI_SMALL_SUMS(ei_sums_fast_4, EI_WEIGHTS_I8_FAST, 4)

/* h in 8 bits to q, which has room for whole vectors. Returns whether there was a NaN. */
EI_INLINE int ei_small_round(const ei_f32 *h, int64_t n, int8_t *q)
{
    const vf high = vf_set1(127.0f), low = vf_set1(-127.0f);
    int nan = 0;
    for (int64_t k = 0; k < n; k += EI_LANES) {
        const vf v = ei_units_load(h + k, n - k);
        nan |= vf_any_nan(v);
        vf_store_i8(q + k, vf_max(low, vf_min(high, vf_mul(v, high))));
    }
    if (EI_LANES < 4)
        memset(q + n, 0, 3);
    return nan;
}

static EI_NOINLINE int EI_FN(ei_round_h)(const ei_f32 *h, int64_t n, int8_t *q) { return ei_small_round(h, n, q); }

/* Two blocks of an LSTM with the usual activations: their sums side by side, and one's activations while the other's
 * wait. Elsewhere the CPU overlaps the blocks by itself, but here the sums are so short that most of a step is
 * waiting. */
EI_INLINE void ei_lstm_fast_pair(const ei_small_call *c, const ei_one *one, const char *p, int64_t block,
                                 int64_t unit)
{
    const ei_form f = {EI_WEIGHTS_I8_FAST, 4};
    ei_small_rest first, second;
    const ei_sums x = ei_small_x(f, p, 4 * EI_VECTOR_BYTES, c->x, c->inputs, &first);
    const ei_sums y = ei_small_x(f, p + block, 4 * EI_VECTOR_BYTES, c->x, c->inputs, &second);
    ei_whole_sums s = ei_whole_load(first.correction, 4), t = ei_whole_load(second.correction, 4);
    const int64_t quads = ei_quads(c->hidden);
    for (int64_t k = 0; k < quads; k++) {
        s = ei_small_dot(f, s, c->q + 4 * k, first.r + k * 4 * EI_VECTOR_BYTES);
        t = ei_small_dot(f, t, c->q + 4 * k, second.r + k * 4 * EI_VECTOR_BYTES);
    }
    const ei_sums whole = {vi_to_vf(s.a), vi_to_vf(s.b), vi_to_vf(s.c), vi_to_vf(s.d)};
    const ei_sums other = {vi_to_vf(t.a), vi_to_vf(t.b), vi_to_vf(t.c), vi_to_vf(t.d)};
    ei_lstm_units(NULL, 1, ei_sums_scaled(whole, first.r_scale, x, 4), one, unit, EI_LANES);
    ei_lstm_units(NULL, 1, ei_sums_scaled(other, second.r_scale, y, 4), one, unit + EI_LANES, EI_LANES);
}

EI_INLINE void ei_lstm_fast_one(const ei_small_call *c, const ei_one *one, const char *p, int64_t unit)
{
    const ei_form f = {EI_WEIGHTS_I8_FAST, 4};
    ei_small_rest rest;
    const ei_sums x = ei_small_x(f, p, 4 * EI_VECTOR_BYTES, c->x, c->inputs, &rest);
    const ei_sums whole = ei_small_whole(f, rest.correction, c->q, c->hidden, rest.r);
    ei_lstm_units(NULL, 1, ei_sums_scaled(whole, rest.r_scale, x, 4), one, unit, EI_LANES);
}

#ifdef EI_VNNI

/* The whole sums of a block, and the x W of the block after it. */
typedef struct ei_fast_sums {
    ei_sums h, x;
} ei_fast_sums;

/* inputs: 0 where no block comes after. */
EI_INLINE ei_fast_sums ei_small_beside(const int32_t *correction, const int8_t *q, int64_t hidden, const char *r,
                                       const ei_f32 *x, int64_t inputs, const char *w)
{
    const ei_form f = {EI_WEIGHTS_I8_FAST, 4};
    const int64_t row = 4 * EI_VECTOR_BYTES, w_row = 4 * EI_LANES, half = inputs / 2, first = inputs - half;
    const vi zero = vi_zero();
    ei_whole_sums s = ei_whole_load(correction, 4), t = {zero, zero, zero, zero};
    ei_sums a = ei_sums_zero(), b = a;
    int64_t quads = ei_quads(hidden);
    for (int64_t k = 0; k < half; k++) {
        a = ei_small_fma(f, a, x[k], w + k * w_row);
        b = ei_small_fma(f, b, x[first + k], w + (first + k) * w_row);
        if (quads >= 4) {
            s = ei_small_dot(f, s, q, r);
            t = ei_small_dot(f, t, q + 4, r + row);
            s = ei_small_dot(f, s, q + 8, r + 2 * row);
            t = ei_small_dot(f, t, q + 12, r + 3 * row);
            quads -= 4, q += 16, r += 4 * row;
        }
    }
    if (first > half)
        a = ei_small_fma(f, a, x[half], w + half * w_row);
    for (; quads >= 2; quads -= 2, q += 8, r += 2 * row) {
        s = ei_small_dot(f, s, q, r);
        t = ei_small_dot(f, t, q + 4, r + row);
    }
    if (quads > 0)
        s = ei_small_dot(f, s, q, r);
    const ei_sums h = {vi_to_vf(vi_add(s.a, t.a)), vi_to_vf(vi_add(s.b, t.b)), vi_to_vf(vi_add(s.c, t.c)),
                       vi_to_vf(vi_add(s.d, t.d))};
    return (ei_fast_sums){h, ei_sums_add(a, b)};
}

/* Blocks one after the other, each with the x W of the next beside its h R: R is waited for, W is widened, and each
 * fills the other's gaps. 9.1 µs for 64 inputs and 512 units became 7.4, 160 ns for 8 and 64 became 147. Without VNNI,
 * where a product takes more instructions and registers, the pairs are 8 to 15 % faster. */
EI_INLINE void ei_lstm_fast_beside(const ei_small_call *c, const ei_one *one, const char *weights, int64_t block,
                                   int64_t blocks, int backward)
{
    const int64_t w = 16 * EI_VECTOR_BYTES, r = w + ei_whole_vectors(c->inputs * 4 * EI_LANES);
    const int64_t turn = backward ? -1 : 1;
    int64_t at = backward ? blocks - 1 : 0;
    const char *p = weights + at * block;
    ei_sums x = ei_sums_zero();
    if (blocks > 0)
        x = ei_small_two((ei_form){EI_WEIGHTS_I8_FAST, 4}, x, c->x, c->inputs, p + w);
    for (; blocks > 0; blocks--, at += turn, p += turn * block) {
        const float *bias = (const float *)(const void *)p, *w_scale = bias + 4 * EI_LANES;
        const float *r_scale = w_scale + 4 * EI_LANES;
        const int32_t *correction = (const int32_t *)(const void *)(r_scale + 4 * EI_LANES);
        const int more = blocks > 1;
        const ei_fast_sums sums = ei_small_beside(correction, c->q, c->hidden, p + r, c->x, more ? c->inputs : 0,
                                                  more ? p + turn * block + w : p);
        x = ei_sums_scaled(x, w_scale, ei_sums_load(bias, 4), 4);
        ei_lstm_units(NULL, 1, ei_sums_scaled(sums.h, r_scale, x, 4), one, at * EI_LANES, EI_LANES);
        x = sums.x;
    }
}

#endif

/* All whole blocks, after h is rounded to c->q. Returns whether there was a NaN; then nothing else is done. */
static EI_NOINLINE int EI_FN(ei_lstm_fast_blocks)(const ei_small_call *c, const char *weights, int64_t block,
                                                  int64_t blocks, int backward)
{
    const ei_one one = {.c = c->c, .c_next = c->c_next, .out = {c->h_next, c->h_copy}};
    if (ei_small_round(c->h, c->hidden, c->q))
        return 1;
#ifdef EI_VNNI
    ei_lstm_fast_beside(c, &one, weights, block, blocks, backward);
#else
    const int64_t pairs = blocks / 2;
    if (blocks % 2 != 0)
        ei_lstm_fast_one(c, &one, weights + (blocks - 1) * block, (blocks - 1) * EI_LANES);
    for (int64_t k = 0; k < pairs; k++) {
        const int64_t at = backward ? pairs - 1 - k : k;
        ei_lstm_fast_pair(c, &one, weights + 2 * at * block, block, 2 * at * EI_LANES);
    }
#endif
    return 0;
}

const ei_small_kernels EI_FN(ei_small_fast) = {
    {EI_FN(ei_sums_fast_1), EI_FN(ei_sums_fast_2), EI_FN(ei_sums_fast_3), EI_FN(ei_sums_fast_4)},
    EI_FN(ei_round_h),
    EI_FN(ei_lstm_fast_blocks),
};
