/* What the sources need of the compiler, and the types of memory that the caller owns. */
#ifndef EI_COMPILER_H
#define EI_COMPILER_H

#include <stdint.h>

#if defined(__GNUC__) || defined(__clang__)
#define EI_INLINE static inline __attribute__((always_inline))
#define EI_NOINLINE __attribute__((noinline))
/* Operands lie at any byte offset of memory that other instructions use with other types. */
#define EI_ANYWHERE __attribute__((aligned(1), may_alias))
#elif defined(_MSC_VER)
#define EI_INLINE static __forceinline
#define EI_NOINLINE __declspec(noinline)
#define EI_ANYWHERE
#else
#define EI_INLINE static inline
#define EI_NOINLINE
#define EI_ANYWHERE
#endif

/* Before a loop: two passes of its body at a time. Clang does so by itself. */
#if defined(__GNUC__) && !defined(__clang__)
#define EI_TWO_PASSES _Pragma("GCC unroll 2")
#else
#define EI_TWO_PASSES
#endif

typedef float ei_f32 EI_ANYWHERE;
typedef int32_t ei_i32 EI_ANYWHERE;
typedef int64_t ei_i64 EI_ANYWHERE;
typedef uint8_t ei_u8 EI_ANYWHERE;
typedef uint16_t ei_u16 EI_ANYWHERE;
typedef uint32_t ei_u32 EI_ANYWHERE;
typedef uint64_t ei_u64 EI_ANYWHERE;

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
#define EI_X86 1
#else
#define EI_X86 0
#endif

#if defined(__aarch64__) && (defined(__GNUC__) || defined(__clang__))
#define EI_AARCH64 1
#else
#define EI_AARCH64 0
#endif

#endif
