/* LSTM: i, o, f = act0(gates), g = act1(gate), c = f*c + i*g, h = o*act2(c). */

EI_INLINE ei_groups ei_lstm_groups(const ei_recurrent *r) { return ei_groups_of(r, EI_LANES, 4, 4, 1); }

/* n units from their gates' sums. */
EI_INLINE void ei_lstm_units(const ei_instr *instr, int standard, ei_sums s, const ei_f32 *c, ei_f32 *c_next,
                             ei_h_out out, int64_t unit, int64_t n)
{
    vf cell = ei_units_load(c + unit, n), h;
    if (standard) {
        /* sigmoid(i) tanh(g) and sigmoid(o) tanh(c) each with one division. A product of denominators that
         * overflows makes the quotient 0, as it should be. */
        const vf i_below = ei_sigmoid_below(s.a), o_below = ei_sigmoid_below(s.b), f = ei_sigmoid(s.c);
        const vf two = vf_set1(2.0f), g_above = ei_tanh_above(s.d);
        const vf added = vf_div(g_above, vf_mul(i_below, vf_add(g_above, two)));
        cell = vf_fma(f, cell, added);
        const vf c_above = ei_tanh_above(cell);
        h = vf_div(c_above, vf_mul(o_below, vf_add(c_above, two)));
    } else {
        const vf i = ei_activate(instr, 0, s.a), o = ei_activate(instr, 0, s.b), f = ei_activate(instr, 0, s.c);
        cell = vf_fma(f, cell, vf_mul(i, ei_activate(instr, 1, s.d)));
        h = vf_mul(o, ei_activate(instr, 2, cell));
    }
    ei_units_store(c_next + unit, cell, n);
    ei_h_store(out, unit, h, n);
}

/* The units left over. */
static EI_NOINLINE void ei_lstm_left(const ei_instr *instr, int standard, const ei_group *g, int64_t left,
                                     const ei_f32 *c, ei_f32 *c_next, ei_h_out out, int64_t unit)
{
    ei_sums s;
    if (unit == 0) {
        s = ei_group_sums(*g, 4);
    } else {
        _Alignas(EI_ALIGN) float sums[4 * EI_LANES];
        ei_left_sums(g, sums);
        const ei_f32 *gate = (const ei_f32 *)sums;
        s = (ei_sums){vf_loadu(gate), vf_loadu(gate + left), vf_loadu(gate + 2 * left), vf_loadu(gate + 3 * left)};
    }
    if (standard)
        ei_lstm_units(instr, 1, s, c, c_next, out, unit, left);
    else
        ei_lstm_units(instr, 0, s, c, c_next, out, unit, left);
}

/* One step of one row. c_next may be c. */
EI_INLINE void ei_lstm_step(const ei_recurrent *r, const ei_groups *g, const ei_instr *instr, int standard,
                            int backward, const ei_f32 *x, const float *x_sums, const ei_f32 *h, const ei_f32 *c,
                            ei_f32 *c_next, ei_h_out out)
{
    ei_group group = {.w = r->weights + g->blocks * g->block, .inputs = r->inputs, .hidden = r->hidden, .x = x,
                      .h = h};
    if (g->left > 0) { /* first, so that taking its gates apart does not wait at the end */
        ei_group left = group;
        left.x_sums = x_sums ? x_sums + g->blocks * 4 * EI_LANES : NULL;
        left.bias_vectors = left.vectors = g->left_vectors;
        ei_lstm_left(instr, standard, &left, g->left, c, c_next, out, g->blocks * EI_LANES);
    }
    group.bias_vectors = 4;
    for (int64_t k = 0; k < g->blocks; k++) {
        const int64_t at = backward ? g->blocks - 1 - k : k, unit = at * EI_LANES;
        group.w = r->weights + at * g->block;
        group.x_sums = x_sums ? x_sums + 4 * unit : NULL;
        ei_lstm_units(instr, standard, ei_group_sums(group, 4), c, c_next, out, unit, EI_LANES);
    }
}

static EI_NOINLINE ei_status EI_FN(ei_lstm_f32)(const ei_instr *instr, char *const *bases)
{
    if (!ei_acts_known(instr, 3))
        return EI_BAD_PROGRAM;
    const ei_recurrent r = ei_recurrent_from(instr, bases);
    const ei_groups g = ei_lstm_groups(&r);
    const int standard =
        instr->act[0] == EI_ACT_SIGMOID && instr->act[1] == EI_ACT_TANH && instr->act[2] == EI_ACT_TANH;
    int backward = ei_backward_first(&r);
    for (int64_t b = 0; b < r.batch; b++) {
        const ei_f32 *h = ei_initial(&r, r.h_initial, b), *c = ei_initial(&r, r.c_initial, b);
        ei_f32 *const c_final = r.c_final != NULL ? r.c_final + ei_state_row(&r, b) : NULL;
        for (int64_t step = 0; step < r.steps; step++) {
            const ei_f32 *x = ei_x_row(&r, ei_time(&r, step), b);
            const float *x_sums = ei_x_sums_of_step(&r, g, step, x);
            const ei_h_out out = ei_h_out_of(&r, step, b);
            ei_f32 *const c_next = step + 1 == r.steps && c_final != NULL ? c_final : (ei_f32 *)r.c;
            if (standard)
                ei_lstm_step(&r, &g, instr, 1, backward, x, x_sums, h, c, c_next, out);
            else
                ei_lstm_step(&r, &g, instr, 0, backward, x, x_sums, h, c, c_next, out);
            backward = !backward;
            h = out.h;
            c = c_next;
        }
        if (r.steps == 0)
            ei_states_pass(&r, b);
    }
    return EI_OK;
}
