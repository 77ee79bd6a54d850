/* Gate rows: the x sums of many x, made once for steps that then only look theirs up. */

static EI_NOINLINE ei_status EI_FN(ei_x_sums_f32)(const ei_instr *instr, char *const *bases)
{
    const int64_t rows = instr->dim[1], inputs = instr->dim[2], hidden = instr->dim[3];
    const ei_f32 *x = (const ei_f32 *)ei_in(instr, bases, 0);
    const float *w = (const float *)(const void *)ei_in(instr, bases, 1);
    float *out = (float *)(void *)ei_out(instr, bases, 0);
    const int reset_first = instr->dim[0] == EI_OP_GRU && instr->dim[4] == 0;
    ei_groups g;
    switch (instr->dim[0]) {
    case EI_OP_LSTM: g = ei_lstm_groups(inputs, hidden); break;
    case EI_OP_GRU: g = reset_first ? ei_gru_groups_zr(inputs, hidden) : ei_gru_groups_linear(inputs, hidden); break;
    case EI_OP_RNN: g = ei_rnn_groups(inputs, hidden); break;
    default: return EI_BAD_PROGRAM;
    }
    const ei_groups n = ei_gru_groups_n(inputs, hidden);
    const int64_t sums = ei_sums_size(&g), stride = sums + (reset_first ? ei_sums_size(&n) : 0);
    ei_x_sums(&g, w, x, inputs, inputs, rows, out, stride);
    if (reset_first)
        ei_x_sums(&n, w + ei_section_size(&g, inputs, hidden), x, inputs, inputs, rows, out + sums, stride);
    return EI_OK;
}
