/* RNN: h = act0(b + x W + h R). Four vectors of units to a group, as one sum alone waits for its own additions. */

EI_INLINE ei_groups ei_rnn_groups(int64_t inputs, int64_t hidden)
{
    return ei_groups_of(inputs, hidden, 4 * EI_LANES, 1, 1, 1);
}

EI_INLINE vf ei_rnn_act(const ei_instr *instr, vf s)
{
    return ei_flushed(ei_activate_usual(instr, 0, EI_ACT_TANH, s));
}

EI_INLINE void ei_rnn_group(const ei_instr *instr, ei_group group, ei_h_out out, int64_t unit, int64_t n, int vectors)
{
    group.bias_vectors = vectors;
    const ei_sums s = ei_group_sums(group, vectors);
    ei_h_store(out, unit, ei_rnn_act(instr, s.a), n);
    if (vectors > 1)
        ei_h_store(out, unit + EI_LANES, ei_rnn_act(instr, s.b), n - EI_LANES);
    if (vectors > 2)
        ei_h_store(out, unit + 2 * EI_LANES, ei_rnn_act(instr, s.c), n - 2 * EI_LANES);
    if (vectors > 3)
        ei_h_store(out, unit + 3 * EI_LANES, ei_rnn_act(instr, s.d), n - 3 * EI_LANES);
}

EI_INLINE void ei_rnn_step(const ei_instr *instr, const ei_one *one)
{
    const int64_t units = 4 * EI_LANES, blocks = (int64_t)((uint64_t)one->hidden / units);
    const int64_t left = one->hidden - blocks * units, block = (1 + one->inputs + one->hidden) * units;
    ei_group group = {.w = one->weights + blocks * block, .inputs = one->inputs, .hidden = one->hidden, .x = one->x,
                      .x_sums = one->x_sums ? one->x_sums + blocks * units : NULL, .h = one->h};
    if (left > 3 * EI_LANES)
        ei_rnn_group(instr, group, one->out, blocks * units, left, 4);
    else if (left > 2 * EI_LANES)
        ei_rnn_group(instr, group, one->out, blocks * units, left, 3);
    else if (left > EI_LANES)
        ei_rnn_group(instr, group, one->out, blocks * units, left, 2);
    else if (left > 0)
        ei_rnn_group(instr, group, one->out, blocks * units, left, 1);
    const int64_t begin = one->backward ? blocks - 1 : 0, turn = one->backward ? -1 : 1;
    int64_t unit = begin * units;
    group.w = one->weights + begin * block;
    for (int64_t k = blocks; k > 0; k--, unit += turn * units, group.w += turn * block) {
        group.x_sums = one->x_sums ? one->x_sums + unit : NULL;
        ei_rnn_group(instr, group, one->out, unit, units, 4);
    }
}

static EI_NOINLINE ei_status ei_rnn_walk(const ei_instr *instr, char *const *bases)
{
    const ei_groups g = ei_rnn_groups(instr->dim[2], instr->dim[3]);
    return ei_walk(instr, bases, &g, 1, 0, ei_rnn_step);
}

static EI_NOINLINE ei_status EI_FN(ei_rnn_f32)(const ei_instr *instr, char *const *bases)
{
    if (!ei_acts_known(instr, 1))
        return EI_BAD_PROGRAM;
    if (!ei_is_single_step(instr))
        return ei_rnn_walk(instr, bases);
    ei_one one;
    const ei_status status = ei_single_step(instr, bases, 0, ei_up_to_lanes(instr->dim[3]), &one);
    if (status == EI_OK)
        ei_rnn_step(instr, &one);
    return status;
}
