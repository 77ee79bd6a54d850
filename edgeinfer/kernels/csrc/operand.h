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

#endif
