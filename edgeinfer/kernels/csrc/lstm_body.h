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
        const vf i = ei_activate_other(instr, 0, s.a), o = ei_activate_other(instr, 0, s.b);
        const vf f = ei_activate_other(instr, 0, s.c);
        cell = vf_fma(f, cell, vf_mul(i, ei_activate_other(instr, 1, s.d)));
        h = vf_mul(o, ei_activate_other(instr, 2, cell));
    }
    ei_units_store(one->c_next + unit, cell, n);
    ei_h_store(one->out, unit, h, n);
}

/* From a group's sums, gate after gate `stride` apart. */
EI_INLINE ei_sums ei_lstm_gates(const float *sums, int64_t stride)
{
    const ei_f32 *i = (const ei_f32 *)sums, *o = i + stride, *f = o + stride;
    return (ei_sums){vf_loadu(i), vf_loadu(o), vf_loadu(f), vf_loadu(f + stride)};
}

/* A block, and beside it the units left over in a group of fewer vectors. */
EI_INLINE void ei_lstm_beside(const ei_instr *instr, int standard, const ei_one *one, const ei_groups *g, int64_t at,
                              int vectors)
{
    _Alignas(EI_ALIGN) float sums[4 * EI_LANES];
    const float *w = one->weights + at * g->block, *left_w = one->weights + g->blocks * g->block;
    const float *x_sums = one->x_sums;
    ei_sums s = ei_sums_load(x_sums ? x_sums + at * 4 * EI_LANES : w, 4);
    ei_sums left = ei_sums_load(x_sums ? x_sums + g->blocks * 4 * EI_LANES : left_w, vectors);
    w += 4 * EI_LANES;
    left_w += vectors * EI_LANES;
    if (x_sums == NULL)
        ei_sums_two_beside(&s, &left, one->x, one->inputs, w, left_w, 4, vectors);
    w += one->inputs * 4 * EI_LANES;
    left_w += one->inputs * vectors * EI_LANES;
    ei_sums_two_beside(&s, &left, one->h, one->hidden, w, left_w, 4, vectors);
    ei_sums_store(sums, ei_sums_zero(), 4);
    ei_sums_store(sums, left, vectors);
    ei_lstm_units(instr, standard, s, one, at * EI_LANES, EI_LANES);
    ei_lstm_units(instr, standard, ei_lstm_gates(sums, g->left), one, g->blocks * EI_LANES, g->left);
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
        s = ei_lstm_gates(sums, g.left);
    }
    if (standard)
        ei_lstm_units(instr, 1, s, one, g.blocks * EI_LANES, g.left);
    else
        ei_lstm_units(instr, 0, s, one, g.blocks * EI_LANES, g.left);
}

/* The units left over and, where they are few, block `at` with them. Gives how many blocks that were. */
static EI_NOINLINE int ei_lstm_left_first(const ei_instr *instr, int standard, const ei_one *one, int64_t at)
{
    const ei_groups g = ei_lstm_groups(one->inputs, one->hidden);
    if (!standard || g.blocks == 0 || g.left_vectors > 3) {
        ei_lstm_left(instr, standard, one);
        return 0;
    }
    switch (g.left_vectors) {
    case 1: ei_lstm_beside(instr, 1, one, &g, at, 1); break;
    case 2: ei_lstm_beside(instr, 1, one, &g, at, 2); break;
    default: ei_lstm_beside(instr, 1, one, &g, at, 3); break;
    }
    return 1;
}

EI_INLINE void ei_lstm_step(const ei_instr *instr, int standard, const ei_one *one)
{
    int64_t blocks = (int64_t)((uint64_t)one->hidden / EI_LANES);
    const int64_t block = (1 + one->inputs + one->hidden) * 4 * EI_LANES;
    int64_t at = one->backward ? blocks - 1 : 0;
    const int64_t turn = one->backward ? -1 : 1;
    if (blocks * EI_LANES < one->hidden) {
        const ei_one copy = *one; /* what has no address needs no memory where no unit is left over */
        if (ei_lstm_left_first(instr, standard, &copy, at)) {
            blocks--;
            at += turn;
        }
    }
    ei_group group = {.w = one->weights + at * block, .bias_vectors = 4, .inputs = one->inputs,
                      .hidden = one->hidden, .x = one->x, .h = one->h};
    int64_t unit = at * EI_LANES;
    for (; blocks > 0; blocks--, unit += turn * EI_LANES, group.w += turn * block) {
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
