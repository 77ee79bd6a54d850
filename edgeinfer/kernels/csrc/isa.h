/* The cores, one per instruction set. Each isa_*.c includes a vec_*.h, then core_body.h, inside the region in which
 * the compiler may use that instruction set. Vector types never leave the region. */
#ifndef EI_ISA_H
#define EI_ISA_H

#include "canary.h"
#include "compiler.h"
#include "core.h"

extern const ei_core ei_core_generic;
#if EI_X86
extern const ei_core ei_core_avx2;
extern const ei_core ei_core_avx512;
#endif
#if EI_AARCH64
extern const ei_core ei_core_neon;
#endif

/* ei_lstm_f32 becomes ei_lstm_f32_avx2, so that a profile or a backtrace tells the cores apart. */
#define EI_JOIN_(name, isa) name##_##isa
#define EI_JOIN(name, isa) EI_JOIN_(name, isa)
#define EI_FN(name) EI_JOIN(name, EI_ISA)

#endif
