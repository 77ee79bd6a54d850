#include "isa.h"

#if EI_AARCH64

#include <math.h>
#include <string.h>

/* No region: every AArch64 compiler may use these instructions anywhere. */
#include "small_neon.h"

#define EI_ISA neon
#define EI_ISA_NAME "neon"
#define EI_SMALL_FAST(instr) ((void)instr, &ei_small_fast_neon)
#include "core_body.h"

#endif
