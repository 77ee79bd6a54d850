/* A recurrent op of whose steps only some count.
 *
 * What a step costs that counts is what it costs in an op of its own: the cells' functions are the same, and a single
 * step takes its short way. The walk over a sequence leaves out the steps that do not count (recurrent_body.h). */

EI_INLINE ei_status ei_masked_cell(const ei_instr *instr, char *const *bases)
{
    switch (instr->dim[14]) {
    case EI_OP_LSTM: return EI_FN(ei_lstm_f32)(instr, bases);
    case EI_OP_GRU: return EI_FN(ei_gru_f32)(instr, bases);
    case EI_OP_RNN: return EI_FN(ei_rnn_f32)(instr, bases);
    case EI_OP_LSTM_SMALL:
    case EI_OP_GRU_SMALL:
    case EI_OP_RNN_SMALL: return EI_FN(ei_recurrent_small)(instr->dim[14], instr, bases);
    default: return EI_BAD_PROGRAM;
    }
}

/* Whether the only step counts. */
EI_INLINE int ei_masked_counts(const ei_instr *instr, char *const *bases)
{
    const char *which = ei_in(instr, bases, 6);
    return instr->dim[15] == EI_STEPS_BY_MASK ? *which != 0 : *(const ei_i32 *)which != 0;
}

/* A single step that does not count. */
static EI_NOINLINE ei_status ei_masked_hold(const ei_instr *instr, char *const *bases)
{
    const ei_recurrent r = ei_recurrent_from(instr, bases);
    const ei_row row = ei_row_of(instr, bases, &r, 0);
    if (instr->in_base[5] != EI_NO_BASE && ei_gate_row(instr, bases, 0, 0) == NULL)
        return EI_INDEX_OUT_OF_RANGE;
    const int has_c = instr->dim[14] == EI_OP_LSTM || instr->dim[14] == EI_OP_LSTM_SMALL;
    const ei_f32 *h = ei_or_zeros(r.h_initial ? r.h_initial + row.state : NULL, r.zeros, r.padded);
    const ei_f32 *c = has_c ? ei_or_zeros(r.c_initial ? r.c_initial + row.state : NULL, r.zeros, r.padded) : NULL;
    ei_row_end(&r, &row, h, c);
    return EI_OK;
}

static EI_NOINLINE ei_status EI_FN(ei_masked)(const ei_instr *instr, char *const *bases)
{
    if (instr->dim[15] != EI_STEPS_BY_LENGTH && instr->dim[15] != EI_STEPS_BY_MASK)
        return EI_BAD_PROGRAM;
    if (instr->dim[15] == EI_STEPS_BY_LENGTH) {
        const ei_i32 *lengths = (const ei_i32 *)ei_in(instr, bases, 6);
        for (int64_t b = 0; b < instr->dim[1]; b++)
            if (lengths[b] < 0 || lengths[b] > instr->dim[0])
                return EI_LENGTH_OUT_OF_RANGE;
    }
    if (ei_is_single_step(instr) && !ei_masked_counts(instr, bases))
        return ei_masked_hold(instr, bases);
    return ei_masked_cell(instr, bases);
}
