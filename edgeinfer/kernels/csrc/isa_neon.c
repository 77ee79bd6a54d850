#include "isa.h"

#if EI_AARCH64

#include <math.h>
#include <string.h>

/* No region: every AArch64 compiler may use these instructions anywhere. */
#include "vec_neon.h"

#define EI_ISA neon
#define EI_ISA_NAME "neon"
#include "core_body.h"

#endif
