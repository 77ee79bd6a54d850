#include "isa.h"

#if EI_X86

#include <math.h>
#include <string.h>

#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif

#include "small_avx2.h"

#define EI_ISA avx2
#define EI_ISA_NAME "avx2"
#define EI_SMALL_FAST(instr) ((void)instr, &ei_small_fast_avx2)
#include "core_body.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
