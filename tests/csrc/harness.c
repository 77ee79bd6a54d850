#define _POSIX_C_SOURCE 200112L /* posix_memalign */
#include "harness.h"

#include <stdarg.h>
#include <stdio.h>

const ei_core *core;
long checks, failures;

void fail(const char *format, ...)
{
    if (failures++ < 20) {
        va_list args;
        va_start(args, format);
        printf("    ");
        vprintf(format, args);
        printf("\n");
        va_end(args);
    }
}

/* AddressSanitizer guards a block itself, against reads too, where nothing of ours stands beside it. */
#if defined(__SANITIZE_ADDRESS__)
#define GUARD 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GUARD 0
#endif
#endif
#ifndef GUARD
#define GUARD 64
#endif
#define GUARD_BYTE 0xA5
#define MAX_BLOCKS 64

typedef struct block {
    unsigned char *raw;
    char *data;
    size_t bytes;
} block;

static block blocks[MAX_BLOCKS];
static int block_count;

void *memory_block(size_t bytes, size_t shift)
{
    block *b = &blocks[block_count++];
    const size_t total = shift + bytes + 2 * GUARD;
    void *raw;
    if (block_count == MAX_BLOCKS || posix_memalign(&raw, EI_ALIGN, total + !total) != 0)
        exit(2);
    b->raw = raw;
    memset(b->raw, GUARD_BYTE, total);
    b->data = (char *)b->raw + GUARD + shift;
    b->bytes = bytes;
    return b->data;
}

float *aligned(int64_t floats) { return memory_block((size_t)floats * sizeof(float), 0); }
float *unaligned(int64_t floats) { return memory_block((size_t)floats * sizeof(float), 4); }

void release(void)
{
    for (int k = 0; k < block_count; k++) {
        const unsigned char *end = (const unsigned char *)blocks[k].data + blocks[k].bytes;
        for (const unsigned char *p = blocks[k].raw; p < (const unsigned char *)blocks[k].data; p++)
            CHECK(*p == GUARD_BYTE, "wrote %d bytes before a block",
                  (int)((const unsigned char *)blocks[k].data - p));
        for (const unsigned char *p = end; p < end + GUARD; p++)
            CHECK(*p == GUARD_BYTE, "wrote %d bytes past a block", (int)(p - end));
        free(blocks[k].raw);
    }
    block_count = 0;
}

#define SEED 0x9E3779B97F4A7C15u
static uint64_t seed;

void draw_again(void) { seed = SEED; }

float uniform(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (float)((double)(seed >> 40) / (1 << 23) - 1.0);
}

float *filled(float *x, int64_t n, float scale)
{
    for (int64_t k = 0; k < n; k++)
        x[k] = scale * uniform();
    return x;
}

static char *bases[16];

/* Operands are bases: the inputs, then the outputs. */
void set_operand(ei_instr *instr, int operand, const void *data)
{
    if (data == NULL)
        return;
    union {
        const void *from;
        char *to;
    } pointer = {data};
    bases[operand] = pointer.to;
    if (operand < EI_INS)
        instr->in_base[operand] = operand;
    else
        instr->out_base[operand - EI_INS] = operand;
}

ei_status run_one(const ei_instr *instr)
{
    size_t failed = 99;
    const ei_status status = core->run(instr, 1, bases, &failed);
    CHECK(status == EI_OK ? failed == 99 : failed == 0, "failed index %zu with status %d", failed, (int)status);
    return status;
}

void close_to(const char *what, const float *got, const double *want, int64_t n, double tolerance)
{
    for (int64_t k = 0; k < n; k++)
        CHECK(fabs(got[k] - want[k]) <= tolerance * fmax(1.0, fabs(want[k])), "%s [%d of %d]: want %.9g, got %.9g",
              what, (int)k, (int)n, want[k], (double)got[k]);
}

void same_bits(const char *what, const void *a, const void *b, int64_t floats)
{
    CHECK(floats == 0 || memcmp(a, b, (size_t)floats * 4) == 0, "%s: the bits differ", what);
}

ei_status unary(int act, float alpha, float beta, const float *x, float *out, int64_t n)
{
    ei_instr instr = ei_bare_instr(EI_OP_UNARY);
    instr.act[0] = act;
    instr.alpha[0] = alpha;
    instr.beta[0] = beta;
    instr.dim[0] = n;
    set_operand(&instr, 0, x);
    set_operand(&instr, OUT0, out);
    return run_one(&instr);
}

int64_t turn_of(int64_t k, int64_t n)
{
    const int64_t first = n - n / 2;
    return k < first ? 2 * k : 2 * (k - first) + 1;
}

double reference_act(int act, double alpha, double beta, double x)
{
    switch (act) {
    case EI_ACT_SIGMOID: return 1 / (1 + exp(-x));
    case EI_ACT_TANH: return tanh(x);
    case EI_ACT_RELU: return x < 0 ? 0 : x;
    case EI_ACT_AFFINE: return alpha * x + beta;
    case EI_ACT_LEAKY_RELU: return x < 0 ? alpha * x : x;
    case EI_ACT_THRESHOLDED_RELU: return x > alpha ? x : 0;
    case EI_ACT_SCALED_TANH: return alpha * tanh(beta * x);
    case EI_ACT_HARD_SIGMOID: return fmax(0, fmin(1, alpha * x + beta));
    case EI_ACT_ELU: return x < 0 ? alpha * expm1(x) : x;
    case EI_ACT_SOFTSIGN: return x / (1 + fabs(x));
    case EI_ACT_SOFTPLUS: return fmax(x, 0) + log1p(exp(-fabs(x)));
    case EI_ACT_EXP: return exp(x);
    case EI_ACT_LOG: return log(x);
    case EI_ACT_NEG: return -x;
    case EI_ACT_ABS: return fabs(x);
    case EI_ACT_SQRT: return sqrt(x);
    case EI_ACT_RECIPROCAL: return 1 / x;
    case EI_ACT_CLIP: return fmax(alpha, fmin(beta, x));
    case EI_ACT_ERF: return erf(x);
    default: return x;
    }
}
