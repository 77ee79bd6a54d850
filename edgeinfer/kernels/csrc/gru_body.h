/* GRU: z, r = act0(gates), n = act1(gate), h = (1 - z)*n + z*h. */

EI_INLINE vf ei_gru_mix(vf z, vf n, vf h) { return vf_fma(z, h, vf_mul(vf_sub(vf_set1(1.0f), z), n)); }

/* linear_before_reset: n = act1(Wb + x W + r (Rb + h R)). */
EI_INLINE void ei_gru_step_linear(const ei_recurrent *r, const ei_instr *instr, int backward, const ei_f32 *x,
                                  const float *h, float *h_next)
{
    const int64_t row = 3 * EI_LANES, block = 4 * EI_LANES + (r->inputs + r->hidden) * row;
    for (int64_t k = 0; k < r->blocks; k++) {
        const int64_t at = backward ? r->blocks - 1 - k : k, unit = at * EI_LANES;
        const float *w = r->weights + at * block;
        const ei_sums bias = ei_sums_load(w, EI_LANES, 4);
        w += 4 * EI_LANES;
        const ei_sums from_x = ei_sums_chain(bias, x, r->inputs, w, EI_LANES, row, 3);
        w += r->inputs * row;
        const ei_sums start = {from_x.a, from_x.b, bias.d, bias.d};
        const ei_sums s = ei_sums_segments(start, h, r->hidden, w, EI_LANES, row, 3);
        const vf reset = ei_activate(instr, 0, s.b), z = ei_activate(instr, 0, s.a);
        const vf n = ei_activate(instr, 1, vf_fma(reset, s.c, from_x.c));
        vf_store(h_next + unit, ei_gru_mix(z, n, vf_load(h + unit)));
    }
}

/* One or four blocks of n = act1(Wb + Rb + x W + (r h) R). */
EI_INLINE void ei_gru_candidates(const ei_recurrent *r, const ei_instr *instr, const float *w, int64_t block,
                                 int count, const ei_f32 *x, const float *h, const float *z, const float *reset_h,
                                 float *h_next)
{
    const int64_t row = 3 * EI_LANES;
    ei_sums s =
        ei_sums_add(ei_sums_load(w + 2 * EI_LANES, block, count), ei_sums_load(w + 3 * EI_LANES, block, count));
    w += 6 * EI_LANES; /* past the bias row, at the third gate */
    s = ei_sums_chain(s, x, r->inputs, w, block, row, count);
    w += r->inputs * row;
    s = ei_sums_segments(s, reset_h, r->hidden, w, block, row, count);
    vf_store(h_next, ei_gru_mix(vf_load(z), ei_activate(instr, 1, s.a), vf_load(h)));
    if (count > 1) {
        const int64_t b = EI_LANES, c = 2 * EI_LANES, d = 3 * EI_LANES;
        vf_store(h_next + b, ei_gru_mix(vf_load(z + b), ei_activate(instr, 1, s.b), vf_load(h + b)));
        vf_store(h_next + c, ei_gru_mix(vf_load(z + c), ei_activate(instr, 1, s.c), vf_load(h + c)));
        vf_store(h_next + d, ei_gru_mix(vf_load(z + d), ei_activate(instr, 1, s.d), vf_load(h + d)));
    }
}

/* Every unit's r is needed before the first n: two passes over the blocks, the second backwards, so that each begins
 * with the weights that the other ended with. */
EI_INLINE void ei_gru_step_reset_first(const ei_recurrent *r, const ei_instr *instr, const ei_f32 *x, const float *h,
                                       float *h_next, float *z, float *reset_h)
{
    const int64_t row = 3 * EI_LANES, block = 4 * EI_LANES + (r->inputs + r->hidden) * row;
    const float *w = r->weights;
    for (int64_t unit = 0; unit < r->padded; unit += EI_LANES, w += block) {
        const float *at = w + 4 * EI_LANES;
        ei_sums s = ei_sums_load(w, EI_LANES, 2);
        s = ei_sums_chain(s, x, r->inputs, at, EI_LANES, row, 2);
        s = ei_sums_segments(s, h, r->hidden, at + r->inputs * row, EI_LANES, row, 2);
        vf_store(z + unit, ei_activate(instr, 0, s.a));
        vf_store(reset_h + unit, vf_mul(ei_activate(instr, 0, s.b), vf_load(h + unit)));
    }
    int64_t at = r->blocks;
    while (at % 4 != 0) {
        const int64_t unit = --at * EI_LANES;
        ei_gru_candidates(r, instr, r->weights + at * block, block, 1, x, h + unit, z + unit, reset_h, h_next + unit);
    }
    while (at > 0) {
        const int64_t unit = (at -= 4) * EI_LANES;
        ei_gru_candidates(r, instr, r->weights + at * block, block, 4, x, h + unit, z + unit, reset_h, h_next + unit);
    }
}

static EI_NOINLINE ei_status EI_FN(ei_gru_f32)(const ei_instr *instr, char *const *bases)
{
    if (!ei_acts_known(instr, 2))
        return EI_BAD_PROGRAM;
    const ei_recurrent r = ei_recurrent_from(instr, bases);
    const ei_f32 *h_initial = (const ei_f32 *)ei_in(instr, bases, 2);
    ei_f32 *h_final = (ei_f32 *)ei_out(instr, bases, 1);
    const int linear_before_reset = instr->dim[7] != 0;
    int backward = ei_backward_first(h_initial, h_final);
    for (int64_t b = 0; b < r.batch; b++) {
        const int64_t state = ei_state_row(&r, b);
        float *h = r.scratch, *h_next = h + r.padded, *z = h_next + r.padded, *reset_h = z + r.padded;
        ei_state_read(h, h_initial ? h_initial + state : NULL, r.hidden);
        for (int64_t step = 0; step < r.steps; step++) {
            const int64_t time = ei_time(&r, step);
            const ei_f32 *x = ei_x_row(&r, time, b);
            if (linear_before_reset)
                ei_gru_step_linear(&r, instr, backward, x, h, h_next);
            else
                ei_gru_step_reset_first(&r, instr, x, h, h_next, z, reset_h);
            backward = !backward;
            float *const swap = h;
            h = h_next;
            h_next = swap;
            ei_y_write(&r, time, b, h);
        }
        if (h_final != NULL)
            ei_row_write(h_final + state, h, r.hidden);
    }
    return EI_OK;
}
