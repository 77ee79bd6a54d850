/* LSTM: i, o, f = act0(gates), g = act1(gate), c = f*c + i*g, h = o*act2(c). */

/* One step of one row. h is only broadcast; c is read and written block by block in place. */
EI_INLINE void ei_lstm_step(const ei_recurrent *r, const ei_instr *instr, int standard, int backward, const ei_f32 *x,
                            const float *h, float *h_next, float *c)
{
    const int64_t row = 4 * EI_LANES, block = (1 + r->inputs + r->hidden) * row;
    for (int64_t k = 0; k < r->blocks; k++) {
        const int64_t at = backward ? r->blocks - 1 - k : k, unit = at * EI_LANES;
        const float *w = r->weights + at * block;
        ei_sums s = ei_sums_load(w, EI_LANES, 4);
        w += row;
        s = ei_sums_chain(s, x, r->inputs, w, EI_LANES, row, 4);
        w += r->inputs * row;
        s = ei_sums_segments(s, h, r->hidden, w, EI_LANES, row, 4);
        vf cell = vf_load(c + unit);
        if (standard) {
            /* sigmoid(i) tanh(g) and sigmoid(o) tanh(c) each with one division. A product of denominators that
             * overflows makes the quotient 0, as it should be. */
            const vf i_below = ei_sigmoid_below(s.a), o_below = ei_sigmoid_below(s.b), f = ei_sigmoid(s.c);
            const vf two = vf_set1(2.0f), g_above = ei_tanh_above(s.d);
            const vf added = vf_div(g_above, vf_mul(i_below, vf_add(g_above, two)));
            cell = vf_fma(f, cell, added);
            const vf c_above = ei_tanh_above(cell);
            vf_store(h_next + unit, vf_div(c_above, vf_mul(o_below, vf_add(c_above, two))));
        } else {
            const vf i = ei_activate(instr, 0, s.a), o = ei_activate(instr, 0, s.b), f = ei_activate(instr, 0, s.c);
            cell = vf_fma(f, cell, vf_mul(i, ei_activate(instr, 1, s.d)));
            vf_store(h_next + unit, vf_mul(o, ei_activate(instr, 2, cell)));
        }
        vf_store(c + unit, cell);
    }
}

static EI_NOINLINE ei_status EI_FN(ei_lstm_f32)(const ei_instr *instr, char *const *bases)
{
    if (!ei_acts_known(instr, 3))
        return EI_BAD_PROGRAM;
    const ei_recurrent r = ei_recurrent_from(instr, bases);
    const ei_f32 *h_initial = (const ei_f32 *)ei_in(instr, bases, 2),
                 *c_initial = (const ei_f32 *)ei_in(instr, bases, 3);
    ei_f32 *h_final = (ei_f32 *)ei_out(instr, bases, 1), *c_final = (ei_f32 *)ei_out(instr, bases, 2);
    const int standard =
        instr->act[0] == EI_ACT_SIGMOID && instr->act[1] == EI_ACT_TANH && instr->act[2] == EI_ACT_TANH;
    int backward = ei_backward_first(h_initial, h_final);
    for (int64_t b = 0; b < r.batch; b++) {
        const int64_t state = ei_state_row(&r, b);
        float *h = r.scratch, *h_next = h + r.padded, *c = h_next + r.padded;
        ei_state_read(h, h_initial ? h_initial + state : NULL, r.hidden);
        ei_state_read(c, c_initial ? c_initial + state : NULL, r.hidden);
        for (int64_t step = 0; step < r.steps; step++) {
            const int64_t time = ei_time(&r, step);
            const ei_f32 *x = ei_x_row(&r, time, b);
            if (standard)
                ei_lstm_step(&r, instr, 1, backward, x, h, h_next, c);
            else
                ei_lstm_step(&r, instr, 0, backward, x, h, h_next, c);
            backward = !backward;
            float *const swap = h;
            h = h_next;
            h_next = swap;
            ei_y_write(&r, time, b, h);
        }
        if (h_final != NULL)
            ei_row_write(h_final + state, h, r.hidden);
        if (c_final != NULL)
            ei_row_write(c_final + state, c, r.hidden);
    }
    return EI_OK;
}
