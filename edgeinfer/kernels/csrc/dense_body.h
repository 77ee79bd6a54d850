/* Dense: out[r, :] = act0(bias + x[r, :] W), k ascending in one chain. Four blocks of columns, or four rows, at a
 * time, as one sum alone waits for its own additions. */

EI_INLINE void ei_vector_write(ei_f32 *out, vf v, int64_t n)
{
    if (n >= EI_LANES)
        vf_storeu(out, v);
    else
        vf_store_part(out, v, n);
}

static void ei_dense_row(const ei_instr *instr, const ei_f32 *x, const float *w, int64_t inputs, int64_t columns,
                         ei_f32 *out)
{
    const int64_t block = (1 + inputs) * EI_LANES;
    int64_t n = 0;
    for (; n + 4 * EI_LANES <= columns; n += 4 * EI_LANES, w += 4 * block) {
        ei_sums s = ei_sums_load(w, block, 4);
        s = ei_sums_chain(s, x, inputs, w + EI_LANES, block, EI_LANES, 4);
        vf_storeu(out + n, ei_activate(instr, 0, s.a));
        vf_storeu(out + n + EI_LANES, ei_activate(instr, 0, s.b));
        vf_storeu(out + n + 2 * EI_LANES, ei_activate(instr, 0, s.c));
        vf_storeu(out + n + 3 * EI_LANES, ei_activate(instr, 0, s.d));
    }
    for (; n < columns; n += EI_LANES, w += block) {
        ei_sums s = ei_sums_load(w, block, 1);
        s = ei_sums_chain(s, x, inputs, w + EI_LANES, block, EI_LANES, 1);
        ei_vector_write(out + n, ei_activate(instr, 0, s.a), columns - n);
    }
}

static void ei_dense_four_rows(const ei_instr *instr, const ei_f32 *x, const float *w, int64_t inputs,
                               int64_t columns, ei_f32 *out)
{
    const ei_f32 *xb = x + inputs, *xc = xb + inputs, *xd = xc + inputs;
    for (int64_t n = 0; n < columns; n += EI_LANES) {
        vf a = vf_load(w), b = a, c = a, d = a;
        w += EI_LANES;
        for (int64_t k = 0; k < inputs; k++, w += EI_LANES) {
            const vf weight = vf_load(w);
            a = vf_fma(vf_set1(x[k]), weight, a);
            b = vf_fma(vf_set1(xb[k]), weight, b);
            c = vf_fma(vf_set1(xc[k]), weight, c);
            d = vf_fma(vf_set1(xd[k]), weight, d);
        }
        ei_vector_write(out + n, ei_activate(instr, 0, a), columns - n);
        ei_vector_write(out + columns + n, ei_activate(instr, 0, b), columns - n);
        ei_vector_write(out + 2 * columns + n, ei_activate(instr, 0, c), columns - n);
        ei_vector_write(out + 3 * columns + n, ei_activate(instr, 0, d), columns - n);
    }
}

static EI_NOINLINE ei_status EI_FN(ei_dense_f32)(const ei_instr *instr, char *const *bases)
{
    if (!ei_acts_known(instr, 1))
        return EI_BAD_PROGRAM;
    const int64_t rows = instr->dim[0], inputs = instr->dim[1], columns = instr->dim[2];
    const ei_f32 *x = (const ei_f32 *)ei_in(instr, bases, 0);
    const float *w = (const float *)(const void *)ei_in(instr, bases, 1);
    ei_f32 *out = (ei_f32 *)ei_out(instr, bases, 0);
    int64_t row = 0;
    for (; row + 4 <= rows; row += 4)
        ei_dense_four_rows(instr, x + row * inputs, w, inputs, columns, out + row * columns);
    for (; row < rows; row++)
        ei_dense_row(instr, x + row * inputs, w, inputs, columns, out + row * columns);
    return EI_OK;
}
