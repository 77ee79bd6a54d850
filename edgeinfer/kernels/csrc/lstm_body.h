/* LSTM: i, o, f = act0(gates), g = act1(gate), c = f*c + i*g, h = o*act2(c). */

EI_INLINE ei_groups ei_lstm_groups(int64_t inputs, int64_t hidden)
{
    return ei_groups_of(inputs, hidden, EI_LANES, 4, 4, 1);
}

/* n units from their gates' sums. */
EI_INLINE void ei_lstm_units(const ei_instr *instr, int standard, ei_sums s, const ei_one *one, int64_t unit,
                             int64_t n)
{
    vf cell = ei_flushed(ei_units_load(one->c + unit, n)), h;
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
    ei_units_store(one->c_next + unit, cell, n);
    ei_h_store(one->out, unit, h, n);
}

/* The units left over. */
static EI_NOINLINE void ei_lstm_left(const ei_instr *instr, int standard, const ei_one *one)
{
    const ei_groups g = ei_lstm_groups(one->inputs, one->hidden);
    const ei_group group = {.w = one->weights + g.blocks * g.block, .bias_vectors = g.left_bias_vectors,
                            .vectors = g.left_vectors, .inputs = one->inputs, .hidden = one->hidden, .x = one->x,
                            .x_sums = one->x_sums ? one->x_sums + g.blocks * 4 * EI_LANES : NULL, .h = one->h};
    ei_sums s;
    if (g.blocks == 0) {
        s = ei_group_sums(group, 4);
    } else {
        _Alignas(EI_ALIGN) float sums[4 * EI_LANES];
        ei_left_sums(&group, sums);
        const ei_f32 *i = (const ei_f32 *)sums, *o = i + g.left, *f = o + g.left;
        s = (ei_sums){vf_loadu(i), vf_loadu(o), vf_loadu(f), vf_loadu(f + g.left)};
    }
    if (standard)
        ei_lstm_units(instr, 1, s, one, g.blocks * EI_LANES, g.left);
    else
        ei_lstm_units(instr, 0, s, one, g.blocks * EI_LANES, g.left);
}

EI_INLINE void ei_lstm_step(const ei_instr *instr, int standard, const ei_one *one)
{
    const int64_t blocks = (int64_t)((uint64_t)one->hidden / EI_LANES);
    const int64_t block = (1 + one->inputs + one->hidden) * 4 * EI_LANES;
    if (blocks * EI_LANES < one->hidden) /* first, so that taking their gates apart does not wait at the end */
        ei_lstm_left(instr, standard, one);
    const int64_t begin = one->backward ? blocks - 1 : 0, turn = one->backward ? -1 : 1;
    ei_group group = {.w = one->weights + begin * block, .bias_vectors = 4, .inputs = one->inputs,
                      .hidden = one->hidden, .x = one->x, .h = one->h};
    int64_t unit = begin * EI_LANES;
    for (int64_t k = blocks; k > 0; k--, unit += turn * EI_LANES, group.w += turn * block) {
        group.x_sums = one->x_sums ? one->x_sums + 4 * unit : NULL;
        ei_lstm_units(instr, standard, ei_group_sums(group, 4), one, unit, EI_LANES);
    }
}

EI_INLINE int ei_lstm_is_standard(const ei_instr *instr)
{
    return instr->act[0] == EI_ACT_SIGMOID && instr->act[1] == EI_ACT_TANH && instr->act[2] == EI_ACT_TANH;
}

EI_INLINE void ei_lstm_ahead(const ei_instr *instr, const ei_one *one)
{
    if (ei_lstm_is_standard(instr))
        ei_lstm_step(instr, 1, one);
    else
        ei_lstm_step(instr, 0, one);
}

static EI_NOINLINE ei_status ei_lstm_walk(const ei_instr *instr, char *const *bases)
{
    const ei_groups g = ei_lstm_groups(instr->dim[2], instr->dim[3]);
    return ei_walk(instr, bases, &g, 1, 1, ei_lstm_ahead);
}

EI_INLINE ei_status ei_lstm_single(const ei_instr *instr, char *const *bases, int standard)
{
    ei_one one;
    const ei_groups g = ei_lstm_groups(instr->dim[2], instr->dim[3]);
    const ei_status status = ei_single_step(instr, bases, 1, ei_sums_size(&g), &one);
    if (status == EI_OK)
        ei_lstm_step(instr, standard, &one);
    return status;
}

static EI_NOINLINE ei_status ei_lstm_other(const ei_instr *instr, char *const *bases)
{
    return ei_lstm_single(instr, bases, 0);
}

static EI_NOINLINE ei_status EI_FN(ei_lstm_f32)(const ei_instr *instr, char *const *bases)
{
    if (ei_is_single_step(instr) && ei_lstm_is_standard(instr))
        return ei_lstm_single(instr, bases, 1);
    if (!ei_acts_known(instr, 3))
        return EI_BAD_PROGRAM;
    return ei_is_single_step(instr) ? ei_lstm_other(instr, bases) : ei_lstm_walk(instr, bases);
}
