#include "isa.h"

#if EI_X86

#include <math.h>
#include <string.h>

#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx2,fma")
#endif

#include "small_avx512.h"

#define EI_ISA avx512
#define EI_ISA_NAME "avx512"
/* VNNI is asked for by the instruction, whose weights were packed for it. */
#define EI_SMALL_FAST(instr) (instr->dim[9] ? &ei_small_fast_avx512vnni : &ei_small_fast_avx512)
#include "core_body.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
