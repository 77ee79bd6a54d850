/* What the groups of checks share: counting, memory with guards, instructions, references. */
#ifndef EI_HARNESS_H
#define EI_HARNESS_H

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "accuracy.h"
#include "core.h"

/* Sums of at most 97 products below 1 in float32, through at most 23 steps of cells that do not amplify. */
#define SUM_TOLERANCE 3e-6
/* One correctly rounded operation after another, or a library function: a few units in the last place. */
#define FEW_ULP 5e-7

extern const ei_core *core; /* the one under test */
extern long checks, failures;

/* Counts a failure and prints the first of them. */
void fail(const char *format, ...);

#define CHECK(condition, ...)  \
    do {                       \
        checks++;              \
        if (!(condition))      \
            fail(__VA_ARGS__); \
    } while (0)

/* A block that lies `shift` bytes after a multiple of EI_ALIGN, between guards. */
void *memory_block(size_t bytes, size_t shift);
float *aligned(int64_t floats);
float *unaligned(int64_t floats);
/* Frees all blocks after checking that nobody wrote beside them. */
void release(void);
/* x, filled with values in [-scale, scale). */
float *filled(float *x, int64_t n, float scale);
/* A group begins with the same numbers whatever ran before it. */
void draw_again(void);
float uniform(void);

/* Operand k of in, or OUT0 + k of out. NULL leaves it absent. */
void set_operand(ei_instr *instr, int operand, const void *data);
enum { OUT0 = EI_INS, OUT1, OUT2 };
ei_status run_one(const ei_instr *instr);
ei_status unary(int act, float alpha, float beta, const float *x, float *out, int64_t n);

/* Within tolerance times max(1, |want|). */
void close_to(const char *what, const float *got, const double *want, int64_t n, double tolerance);
void same_bits(const char *what, const void *a, const void *b, int64_t floats);

/* At which place row k of n stands where those of two segments take turns (core.h). */
int64_t turn_of(int64_t k, int64_t n);

/* An activation in double precision. */
double reference_act(int act, double alpha, double beta, double x);

typedef struct group {
    const char *name; /* NULL after the last */
    void (*run)(void);
} group;

/* The activations are checked on every that many floats. */
extern uint32_t sweep_stride;

extern const group activation_groups[], recurrent_groups[], op_groups[], pool_groups[], small_groups[],
    masked_groups[], logic_groups[];

#endif
