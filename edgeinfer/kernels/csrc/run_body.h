/* The run loop and the core that it makes. */

static ei_status EI_FN(ei_run)(const ei_instr *code, size_t count, char *const *bases, size_t *failed)
{
    for (size_t k = 0; k < count; k++) {
        const ei_instr *instr = code + k;
        ei_status status = EI_BAD_PROGRAM;
        switch (instr->op) {
        case EI_OP_LSTM: status = EI_FN(ei_lstm_f32)(instr, bases); break;
        case EI_OP_GRU: status = EI_FN(ei_gru_f32)(instr, bases); break;
        case EI_OP_RNN: status = EI_FN(ei_rnn_f32)(instr, bases); break;
        case EI_OP_DENSE: status = EI_FN(ei_dense_f32)(instr, bases); break;
        case EI_OP_GATHER: status = EI_FN(ei_gather)(instr, bases); break;
        case EI_OP_UNARY: status = EI_FN(ei_unary_f32)(instr, bases); break;
        case EI_OP_BINARY: status = EI_FN(ei_binary)(instr, bases); break;
        case EI_OP_SOFTMAX: status = EI_FN(ei_softmax_f32)(instr, bases); break;
        case EI_OP_COPY: status = EI_FN(ei_copy)(instr, bases); break;
        case EI_OP_CAST: status = EI_FN(ei_cast)(instr, bases); break;
        case EI_OP_X_SUMS: status = EI_FN(ei_x_sums_f32)(instr, bases); break;
        case EI_OP_COMPARE: status = EI_FN(ei_compare)(instr, bases); break;
        case EI_OP_WHERE: status = EI_FN(ei_where)(instr, bases); break;
        case EI_OP_REDUCE: status = EI_FN(ei_reduce)(instr, bases); break;
        case EI_OP_MASKED: status = EI_FN(ei_masked)(instr, bases); break;
        case EI_OP_LSTM_SMALL:
        case EI_OP_GRU_SMALL:
        case EI_OP_RNN_SMALL: status = EI_FN(ei_recurrent_small)(instr->op, instr, bases); break;
        case EI_OP_DENSE_SMALL: status = EI_FN(ei_dense_small)(instr, bases); break;
        case EI_OP_GATHER_SMALL: status = EI_FN(ei_gather_small)(instr, bases); break;
        default: break;
        }
        if (status != EI_OK) {
            *failed = k;
            return status;
        }
    }
    return EI_OK;
}

#include "rows_body.h"

static int EI_FN(ei_all_finite)(const float *x, size_t count)
{
    const uint32_t exponent = 0x7f800000u;
    const ei_u32 *bits = (const ei_u32 *)x;
    uint32_t bad = 0;
    for (size_t i = 0; i < count; i++)
        bad |= (uint32_t)((bits[i] & exponent) == exponent);
    return bad == 0;
}

const ei_core EI_FN(ei_core) = {EI_ISA_NAME, EI_LANES, EI_FN(ei_run), EI_FN(ei_run_rows), EI_FN(ei_all_finite)};
