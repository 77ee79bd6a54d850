/* Dense: out[r, :] = act0(bias + x[r, :] W). The order of summation stands in sums_body.h. */

EI_INLINE void ei_vector_write(ei_f32 *out, vf v, int64_t n)
{
    if (n >= EI_LANES)
        vf_storeu(out, v);
    else
        vf_store_part(out, v, n);
}

/* Chains 0 to 3 of up to four vectors of values, the last one possibly part of one. */
EI_INLINE ei_sums ei_column_fma(ei_sums s, const ei_f32 *x, const float *w, int64_t n)
{
    const vf zero = vf_set1(0.0f);
    if (n >= EI_LANES)
        s.a = vf_fma(vf_loadu(x), vf_load(w), s.a);
    if (n >= 2 * EI_LANES)
        s.b = vf_fma(vf_loadu(x + EI_LANES), vf_load(w + EI_LANES), s.b);
    if (n >= 3 * EI_LANES)
        s.c = vf_fma(vf_loadu(x + 2 * EI_LANES), vf_load(w + 2 * EI_LANES), s.c);
    if (n >= 4 * EI_LANES)
        s.d = vf_fma(vf_loadu(x + 3 * EI_LANES), vf_load(w + 3 * EI_LANES), s.d);
    const int64_t part = n % EI_LANES, whole = n - part;
    if (part == 0)
        return s;
    const vf weights = vf_load(w + whole), values = vf_load_part(x + whole, part, zero);
    if (whole == 0)
        s.a = vf_fma(values, weights, s.a);
    else if (whole == EI_LANES)
        s.b = vf_fma(values, weights, s.b);
    else if (whole == 2 * EI_LANES)
        s.c = vf_fma(values, weights, s.c);
    else
        s.d = vf_fma(values, weights, s.d);
    return s;
}

/* One of few columns, summed along K: lane l of chain c has k = l + EI_LANES * c, c + 4, c + 8, ...; then the four
 * chains are added up, (0 + 1) + (2 + 3), then the lanes in halves, then the bias. One column of 64 values so takes a
 * sixteenth of the weights and none of the latency of 64 additions. */
EI_INLINE float ei_dense_column(const ei_f32 *x, const float *w, uint64_t inputs, float bias)
{
    ei_sums s = ei_sums_zero();
    for (; inputs > 4 * EI_LANES; inputs -= 4 * EI_LANES, x += 4 * EI_LANES, w += 4 * EI_LANES)
        s = ei_column_fma(s, x, w, 4 * EI_LANES);
    s = ei_column_fma(s, x, w, (int64_t)inputs);
    return vf_sum(vf_add(vf_add(s.a, s.b), vf_add(s.c, s.d))) + bias;
}

/* Out of line: what another function needs of the stack is not made ready where the activation is the usual one. */
static EI_NOINLINE void ei_dense_activated(const ei_instr *instr, float sum, ei_f32 *out)
{
    vf_store_part(out, ei_activate_other(instr, 0, vf_set1(sum)), 1);
}

static EI_NOINLINE void ei_dense_few(const ei_instr *instr, const ei_f32 *x, const float *w, ei_f32 *out)
{
    const int64_t rows = instr->dim[0], inputs = instr->dim[1], columns = instr->dim[2];
    const int linear = instr->act[0] == EI_ACT_LINEAR;
    for (int64_t row = 0; row < rows; row++, x += inputs, out += columns)
        for (int64_t n = 0; n < columns; n++) {
            const float *const column = w + EI_LANES + n * ei_up_to_lanes(inputs); /* past the bias */
            const float sum = ei_dense_column(x, column, (uint64_t)inputs, w[n]);
            if (linear)
                out[n] = sum;
            else
                ei_dense_activated(instr, sum, out + n);
        }
}

EI_INLINE void ei_dense_write(const ei_instr *instr, ei_f32 *out, ei_sums s, int64_t n, int vectors)
{
    ei_vector_write(out, ei_activate_usual(instr, 0, EI_ACT_LINEAR, s.a), n);
    if (vectors > 1)
        ei_vector_write(out + EI_LANES, ei_activate_usual(instr, 0, EI_ACT_LINEAR, s.b), n - EI_LANES);
    if (vectors > 2)
        ei_vector_write(out + 2 * EI_LANES, ei_activate_usual(instr, 0, EI_ACT_LINEAR, s.c), n - 2 * EI_LANES);
    if (vectors > 3)
        ei_vector_write(out + 3 * EI_LANES, ei_activate_usual(instr, 0, EI_ACT_LINEAR, s.d), n - 3 * EI_LANES);
}

/* The n columns of one group for all rows. w is at the group's bias. */
EI_INLINE void ei_dense_group(const ei_instr *instr, const ei_f32 *x, const float *w, int64_t rows, int64_t inputs,
                              int64_t columns, int64_t n, int vectors, ei_f32 *out)
{
    const int segments = vectors > 2 ? 2 : 4;
    const ei_sums bias = ei_sums_load(w, vectors);
    w += vectors * EI_LANES;
    int64_t row = 0;
    for (; row + EI_TILE_ROWS <= rows; row += EI_TILE_ROWS) {
        const ei_tile t =
            ei_sums_tile(bias, x + row * inputs, inputs, inputs, w, vectors, EI_TILE_ROWS, segments);
        ei_dense_write(instr, out + row * columns, t.a, n, vectors);
        if (EI_TILE_ROWS > 1)
            ei_dense_write(instr, out + (row + 1) * columns, t.b, n, vectors);
        if (EI_TILE_ROWS > 2)
            ei_dense_write(instr, out + (row + 2) * columns, t.c, n, vectors);
        if (EI_TILE_ROWS > 3)
            ei_dense_write(instr, out + (row + 3) * columns, t.d, n, vectors);
    }
    for (; row < rows; row++) {
        const ei_f32 *v = x + row * inputs;
        const ei_sums s = segments == 2 ? ei_sums_two(bias, v, inputs, w, vectors)
                                        : ei_sums_four(bias, v, inputs, w, vectors);
        ei_dense_write(instr, out + row * columns, s, n, vectors);
    }
}

static EI_NOINLINE void ei_dense_groups(const ei_instr *instr, const ei_f32 *x, const float *w, ei_f32 *out)
{
    const int64_t rows = instr->dim[0], inputs = instr->dim[1], columns = instr->dim[2];
    int64_t n = 0;
    for (; n + 4 * EI_LANES <= columns; n += 4 * EI_LANES, w += (1 + inputs) * 4 * EI_LANES)
        ei_dense_group(instr, x, w, rows, inputs, columns, 4 * EI_LANES, 4, out + n);
    const int64_t left = columns - n;
    if (left > 3 * EI_LANES)
        ei_dense_group(instr, x, w, rows, inputs, columns, left, 4, out + n);
    else if (left > 2 * EI_LANES)
        ei_dense_group(instr, x, w, rows, inputs, columns, left, 3, out + n);
    else if (left > EI_LANES)
        ei_dense_group(instr, x, w, rows, inputs, columns, left, 2, out + n);
    else if (left > 0)
        ei_dense_group(instr, x, w, rows, inputs, columns, left, 1, out + n);
}

static EI_NOINLINE ei_status EI_FN(ei_dense_f32)(const ei_instr *instr, char *const *bases)
{
    if (!ei_acts_known(instr, 1))
        return EI_BAD_PROGRAM;
    const ei_f32 *x = (const ei_f32 *)ei_in(instr, bases, 0);
    const float *w = (const float *)(const void *)ei_in(instr, bases, 1);
    ei_f32 *out = (ei_f32 *)ei_out(instr, bases, 0);
    if (4 * instr->dim[2] > EI_LANES)
        ei_dense_groups(instr, x, w, out);
    else if (instr->dim[0] == 1 && instr->dim[2] == 1 && instr->act[0] == EI_ACT_LINEAR)
        out[0] = ei_dense_column(x, w + EI_LANES, (uint64_t)instr->dim[1], w[0]);
    else
        ei_dense_few(instr, x, w, out);
    return EI_OK;
}
