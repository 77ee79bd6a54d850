/* Dense: out[r, :] = act0(bias + x[r, :] W). The order of summation stands in sums_body.h. */

EI_INLINE void ei_vector_write(ei_f32 *out, vf v, int64_t n)
{
    if (n >= EI_LANES)
        vf_storeu(out, v);
    else
        vf_store_part(out, v, n);
}

/* A few columns, summed along K: lane l of chain c has k = l + EI_LANES * c, c + 4, c + 8, ...; then the four chains
 * are added up, (0 + 1) + (2 + 3), then the lanes in halves, then the bias. One column of 64 values so takes a
 * sixteenth of the weights and none of the latency of 64 additions. */
static EI_NOINLINE void ei_dense_few(const ei_instr *instr, const ei_f32 *x, const float *w, int64_t inputs,
                                     int64_t columns, ei_f32 *out)
{
    const float *column = w + EI_LANES; /* past the bias */
    const vf zero = vf_set1(0.0f);
    for (int64_t n = 0; n < columns; n++) {
        const ei_f32 *v = x;
        int64_t left = inputs;
        vf a = zero, b = zero, c = zero, d = zero;
        for (; left >= 4 * EI_LANES; left -= 4 * EI_LANES, v += 4 * EI_LANES, column += 4 * EI_LANES) {
            a = vf_fma(vf_loadu(v), vf_load(column), a);
            b = vf_fma(vf_loadu(v + EI_LANES), vf_load(column + EI_LANES), b);
            c = vf_fma(vf_loadu(v + 2 * EI_LANES), vf_load(column + 2 * EI_LANES), c);
            d = vf_fma(vf_loadu(v + 3 * EI_LANES), vf_load(column + 3 * EI_LANES), d);
        }
        for (int chain = 0; left > 0; chain++, left -= EI_LANES, v += EI_LANES, column += EI_LANES) {
            const vf value = left >= EI_LANES ? vf_loadu(v) : vf_load_part(v, left, zero), weight = vf_load(column);
            if (chain == 0)
                a = vf_fma(value, weight, a);
            else if (chain == 1)
                b = vf_fma(value, weight, b);
            else if (chain == 2)
                c = vf_fma(value, weight, c);
            else
                d = vf_fma(value, weight, d);
        }
        const float sum = vf_sum(vf_add(vf_add(a, b), vf_add(c, d))) + w[n];
        out[n] = sum;
        if (instr->act[0] != EI_ACT_LINEAR)
            vf_store_part(out + n, ei_activate_other(instr, 0, vf_set1(sum)), 1);
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
    const int64_t rows = instr->dim[0], inputs = instr->dim[1], columns = instr->dim[2];
    const ei_f32 *x = (const ei_f32 *)ei_in(instr, bases, 0);
    const float *w = (const float *)(const void *)ei_in(instr, bases, 1);
    ei_f32 *out = (ei_f32 *)ei_out(instr, bases, 0);
    if (4 * columns > EI_LANES)
        ei_dense_groups(instr, x, w, out);
    else
        for (int64_t row = 0; row < rows; row++)
            ei_dense_few(instr, x + row * inputs, w, inputs, columns, out + row * columns);
    return EI_OK;
}
