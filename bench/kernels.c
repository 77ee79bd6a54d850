/* Nanoseconds per step of the recurrent kernels, timed in C: a cell, then Dense(1), stepped by ei_run_steps.
 *
 *   cc -std=c11 -O2 -ffp-contract=off -I edgeinfer/kernels/csrc bench/kernels.c edgeinfer/kernels/csrc/[a-z]*.c \
 *       -lm -o /tmp/kernels && /tmp/kernels [CELL [ISA [INPUT,HIDDEN[,STEPS] ...]]]
 *
 * CELL is lstm, gru (linear_before_reset), gru0, rnn or all. With STEPS the cell runs a sequence of so many steps in
 * one instruction, and the figure is per time step. Each figure is the median of 41 rounds; the sizes are timed by
 * turns, so that a slow second of the machine does not fall on one of them. To compare two builds, run both by turns
 * and compare medians. */
#define _POSIX_C_SOURCE 199309L
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core.h"

enum { STATE_IN, STATE_OUT, X, Y, WEIGHTS, SCRATCH, HIDDEN, BASES };
enum { ROUNDS = 41, MOST_SIZES = 16 };

typedef struct size {
    int64_t inputs, hidden, steps;
    ei_instr code[2];
    char *bases[BASES];
    size_t repeats;
    double ns[ROUNDS];
} size;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static char *floats(int64_t n, float scale)
{
    float *p = aligned_alloc(64, ((size_t)n * 4 / 64 + 2) * 64);
    for (int64_t k = 0; k < n; k++)
        p[k] = scale * ((float)rand() / (float)RAND_MAX - 0.5f);
    return (char *)p;
}

static void operand(ei_instr *instr, int k, int base, int64_t offset)
{
    (k < EI_INS ? instr->in_base : instr->out_base - EI_INS)[k] = base;
    (k < EI_INS ? instr->in : instr->out - EI_INS)[k] = offset;
}

static void prepare(size *s, const ei_core *core, int op, int linear)
{
    const int64_t F = s->inputs, H = s->hidden, T = s->steps, lanes = core->lanes;
    const int64_t padded = (H + lanes - 1) / lanes * lanes, gates = op == EI_OP_LSTM ? 4 : op == EI_OP_GRU ? 3 : 1;
    const int64_t cell_floats = (F + H + 2) * (gates + 1) * padded;
    s->code[0] = ei_bare_instr(op);
    s->code[0].act[0] = op == EI_OP_RNN ? EI_ACT_TANH : EI_ACT_SIGMOID;
    s->code[0].act[1] = s->code[0].act[2] = EI_ACT_TANH;
    const int64_t cell_dims[] = {T, 1, F, H, 1, 0, 0, linear}, dense_dims[] = {1, H, 1};
    memcpy(s->code[0].dim, cell_dims, sizeof cell_dims);
    operand(&s->code[0], 0, X, 0);
    operand(&s->code[0], 1, WEIGHTS, 0);
    operand(&s->code[0], 2, STATE_IN, 0);
    operand(&s->code[0], 4, SCRATCH, 0);
    operand(&s->code[0], EI_INS + 1, STATE_OUT, 0);
    if (op == EI_OP_LSTM) {
        operand(&s->code[0], 3, STATE_IN, padded * 4);
        operand(&s->code[0], EI_INS + 2, STATE_OUT, padded * 4);
    }
    if (T > 1)
        operand(&s->code[0], EI_INS, HIDDEN, 0);
    s->code[1] = ei_bare_instr(EI_OP_DENSE);
    memcpy(s->code[1].dim, dense_dims, sizeof dense_dims);
    operand(&s->code[1], 0, STATE_OUT, 0);
    operand(&s->code[1], 1, WEIGHTS, cell_floats * 4);
    operand(&s->code[1], EI_INS, Y, 0);
    s->bases[STATE_IN] = floats(2 * padded + 64, 1);
    s->bases[STATE_OUT] = floats(2 * padded + 64, 1);
    s->bases[X] = floats(T * F, 2);
    s->bases[Y] = floats(64, 0);
    s->bases[WEIGHTS] = floats(cell_floats + (H + 2) * lanes, 3.4f / sqrtf((float)(F + H)));
    s->bases[SCRATCH] = floats(64 * padded, 0);
    s->bases[HIDDEN] = floats(T * H + 64, 0);
}

static double run(size *s, const ei_core *core, size_t repeats)
{
    const ei_step layout = {STATE_IN, STATE_OUT, X, Y, 0, 0};
    size_t failed_step, failed;
    const double start = now();
    if (ei_run_steps(core, s->code, 2, s->bases, &layout, repeats, &failed_step, &failed) != EI_OK)
        exit(1);
    return (now() - start) / (double)repeats;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void bench(const ei_core *core, const char *cell, int op, int linear, size *sizes, int count)
{
    for (int k = 0; k < count; k++) {
        prepare(&sizes[k], core, op, linear);
        sizes[k].repeats = 4;
        sizes[k].repeats = 2 * (size_t)(2e5 / run(&sizes[k], core, 4)) + 2;
    }
    for (int round = 0; round < ROUNDS; round++)
        for (int k = 0; k < count; k++) {
            run(&sizes[k], core, sizes[k].repeats / 4 + 1);
            sizes[k].ns[round] = run(&sizes[k], core, sizes[k].repeats);
        }
    printf("%-8s %-5s", core->name, cell);
    for (int k = 0; k < count; k++) {
        qsort(sizes[k].ns, ROUNDS, sizeof *sizes[k].ns, ascending);
        printf(" %9.1f", sizes[k].ns[ROUNDS / 2] / (double)sizes[k].steps);
        for (int base = 0; base < BASES; base++)
            free(sizes[k].bases[base]);
    }
    printf("\n");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int op, linear;
    } cells[] = {{"lstm", EI_OP_LSTM, 0}, {"gru", EI_OP_GRU, 1}, {"gru0", EI_OP_GRU, 0}, {"rnn", EI_OP_RNN, 0}};
    static const int64_t usual[][2] = {{1, 16}, {1, 32}, {8, 64}, {10, 50}, {16, 128}, {32, 256}, {64, 512}};
    static size sizes[MOST_SIZES];
    int count = 0;
    for (int k = 3; k < argc && count < MOST_SIZES; k++, count++) {
        char *at = argv[k];
        sizes[count].inputs = strtol(at, &at, 10);
        sizes[count].hidden = *at ? strtol(at + 1, &at, 10) : 1;
        sizes[count].steps = *at ? strtol(at + 1, &at, 10) : 1;
    }
    for (; argc <= 3 && count < 7; count++)
        sizes[count] = (size){.inputs = usual[count][0], .hidden = usual[count][1], .steps = 1};
    printf("%-14s", "input,hidden");
    for (int k = 0; k < count; k++)
        printf(" %5d,%-4d", (int)sizes[k].inputs, (int)sizes[k].hidden);
    printf("\n");
    for (const char *const *isa = ei_core_names(); *isa != NULL; isa++)
        for (int k = 0; k < 4; k++) {
            const ei_core *core = ei_core_find(*isa);
            if (core != NULL && (argc < 3 || strcmp(argv[2], "all") == 0 || strcmp(argv[2], *isa) == 0) &&
                (argc < 2 || strcmp(argv[1], "all") == 0 || strcmp(argv[1], cells[k].name) == 0))
                bench(core, cells[k].name, cells[k].op, cells[k].linear, sizes, count);
        }
    return 0;
}
