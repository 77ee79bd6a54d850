#include "isa.h"

#include "small_generic.h"

#define EI_ISA generic
#define EI_ISA_NAME "generic"
#define EI_SMALL_FAST(instr) ((void)instr, &ei_small_fast_generic)
#include "core_body.h"
