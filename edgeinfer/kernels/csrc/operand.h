/* Where an instruction's operands are. */
#ifndef EI_OPERAND_H
#define EI_OPERAND_H

#include "compiler.h"
#include "core.h"

/* NULL where the operand is absent. */
EI_INLINE char *ei_operand(char *const *bases, int32_t base, int64_t offset)
{
    return base == EI_NO_BASE ? NULL : bases[base] + offset;
}

EI_INLINE char *ei_in(const ei_instr *instr, char *const *bases, int k)
{
    return ei_operand(bases, instr->in_base[k], instr->in[k]);
}

EI_INLINE char *ei_out(const ei_instr *instr, char *const *bases, int k)
{
    return ei_operand(bases, instr->out_base[k], instr->out[k]);
}

/* The row of a table that the index at `at` asks for, a negative one counted from the end; -1 where there is none.
 * dtype: EI_I32 or EI_I64. */
EI_INLINE int64_t ei_table_row(const char *indices, int64_t at, int64_t dtype, int64_t rows)
{
    const int64_t index = dtype == EI_I32 ? ((const ei_i32 *)indices)[at] : ((const ei_i64 *)indices)[at];
    if (index < -rows || index >= rows)
        return -1;
    return index < 0 ? index + rows : index;
}

#endif
