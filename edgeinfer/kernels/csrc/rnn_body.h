/* RNN: h = act0(b + x W + h R). Four blocks at a time, as one sum alone waits for its own additions. */

EI_INLINE void ei_rnn_blocks(const ei_recurrent *r, const ei_instr *instr, const float *w, int64_t block, int count,
                             const ei_f32 *x, const float *h, float *h_next)
{
    ei_sums s = ei_sums_load(w, block, count);
    w += EI_LANES;
    s = ei_sums_chain(s, x, r->inputs, w, block, EI_LANES, count);
    w += r->inputs * EI_LANES;
    s = ei_sums_segments(s, h, r->hidden, w, block, EI_LANES, count);
    vf_store(h_next, ei_activate(instr, 0, s.a));
    if (count > 1) {
        vf_store(h_next + EI_LANES, ei_activate(instr, 0, s.b));
        vf_store(h_next + 2 * EI_LANES, ei_activate(instr, 0, s.c));
        vf_store(h_next + 3 * EI_LANES, ei_activate(instr, 0, s.d));
    }
}

EI_INLINE void ei_rnn_step(const ei_recurrent *r, const ei_instr *instr, int backward, const ei_f32 *x,
                           const float *h, float *h_next)
{
    const int64_t block = (1 + r->inputs + r->hidden) * EI_LANES, fours = r->blocks / 4,
                  groups = fours + r->blocks % 4;
    for (int64_t k = 0; k < groups; k++) {
        const int64_t group = backward ? groups - 1 - k : k, at = group < fours ? 4 * group : 3 * fours + group;
        if (group < fours)
            ei_rnn_blocks(r, instr, r->weights + at * block, block, 4, x, h, h_next + at * EI_LANES);
        else
            ei_rnn_blocks(r, instr, r->weights + at * block, block, 1, x, h, h_next + at * EI_LANES);
    }
}

static EI_NOINLINE ei_status EI_FN(ei_rnn_f32)(const ei_instr *instr, char *const *bases)
{
    if (!ei_acts_known(instr, 1))
        return EI_BAD_PROGRAM;
    const ei_recurrent r = ei_recurrent_from(instr, bases);
    const ei_f32 *h_initial = (const ei_f32 *)ei_in(instr, bases, 2);
    ei_f32 *h_final = (ei_f32 *)ei_out(instr, bases, 1);
    int backward = ei_backward_first(h_initial, h_final);
    for (int64_t b = 0; b < r.batch; b++) {
        const int64_t state = ei_state_row(&r, b);
        float *h = r.scratch, *h_next = h + r.padded;
        ei_state_read(h, h_initial ? h_initial + state : NULL, r.hidden);
        for (int64_t step = 0; step < r.steps; step++) {
            const int64_t time = ei_time(&r, step);
            ei_rnn_step(&r, instr, backward, ei_x_row(&r, time, b), h, h_next);
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
