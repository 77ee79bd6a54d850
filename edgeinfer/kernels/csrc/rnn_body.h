/* RNN: h = act0(b + x W + h R). Four vectors of units to a group, as one sum alone waits for its own additions. */

EI_INLINE ei_groups ei_rnn_groups(const ei_recurrent *r) { return ei_groups_of(r, 4 * EI_LANES, 1, 1, 1); }

EI_INLINE void ei_rnn_group(const ei_instr *instr, ei_group group, ei_h_out out, int64_t unit, int64_t n, int vectors)
{
    group.bias_vectors = vectors;
    const ei_sums s = ei_group_sums(group, vectors);
    ei_h_store(out, unit, ei_activate(instr, 0, s.a), n);
    if (vectors > 1)
        ei_h_store(out, unit + EI_LANES, ei_activate(instr, 0, s.b), n - EI_LANES);
    if (vectors > 2)
        ei_h_store(out, unit + 2 * EI_LANES, ei_activate(instr, 0, s.c), n - 2 * EI_LANES);
    if (vectors > 3)
        ei_h_store(out, unit + 3 * EI_LANES, ei_activate(instr, 0, s.d), n - 3 * EI_LANES);
}

EI_INLINE void ei_rnn_step(const ei_recurrent *r, const ei_groups *g, const ei_instr *instr, int backward,
                           const ei_f32 *x, const float *x_sums, const ei_f32 *h, ei_h_out out)
{
    const int64_t groups = g->blocks + (g->left > 0);
    for (int64_t k = 0; k < groups; k++) {
        const int64_t at = backward ? groups - 1 - k : k, unit = at * 4 * EI_LANES;
        const ei_group group = {.w = r->weights + at * g->block, .inputs = r->inputs, .hidden = r->hidden, .x = x,
                                .x_sums = x_sums ? x_sums + unit : NULL, .h = h};
        switch (at < g->blocks ? 0 : g->left_vectors) {
        case 0: ei_rnn_group(instr, group, out, unit, 4 * EI_LANES, 4); break;
        case 1: ei_rnn_group(instr, group, out, unit, g->left, 1); break;
        case 2: ei_rnn_group(instr, group, out, unit, g->left, 2); break;
        case 3: ei_rnn_group(instr, group, out, unit, g->left, 3); break;
        default: ei_rnn_group(instr, group, out, unit, g->left, 4); break;
        }
    }
}

static EI_NOINLINE ei_status EI_FN(ei_rnn_f32)(const ei_instr *instr, char *const *bases)
{
    if (!ei_acts_known(instr, 1))
        return EI_BAD_PROGRAM;
    const ei_recurrent r = ei_recurrent_from(instr, bases);
    const ei_groups g = ei_rnn_groups(&r);
    int backward = ei_backward_first(&r);
    for (int64_t b = 0; b < r.batch; b++) {
        const ei_f32 *h = ei_initial(&r, r.h_initial, b);
        for (int64_t step = 0; step < r.steps; step++) {
            const ei_f32 *x = ei_x_row(&r, ei_time(&r, step), b);
            const float *x_sums = ei_x_sums_of_step(&r, g, step, x);
            const ei_h_out out = ei_h_out_of(&r, step, b);
            ei_rnn_step(&r, &g, instr, backward, x, x_sums, h, out);
            backward = !backward;
            h = out.h;
        }
        if (r.steps == 0)
            ei_states_pass(&r, b);
    }
    return EI_OK;
}
