/* What bench/instructions.py counts and compares:
 *
 *   instructions --cases       the compiler, then the cases, one a line
 *   instructions --cores       the cores that can run here (under valgrind: those that it emulates), one a line
 *   instructions NAME          every case on that core, COUNTED_STEPS steps each between counting_begins and
 *                              counting_ends, which tell callgrind where the counted part is
 *   instructions --ratio       how much faster than on AVX2 a multiply-add and each case are on AVX-512, one a line;
 *                              nothing where this machine has not got both */
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "isa.h"
#include "programs.h"
#include "roofline.h"

#define COUNTED_STEPS 20
#define RATIO_ROUNDS 400
#define RATIO_STEPS 100

volatile float roofline_sink;

static const struct {
    int cell;
    size size;
} cases[] = {
    {CELL_LSTM, {1, 16}},    {CELL_LSTM, {8, 64}},   {CELL_LSTM, {10, 50}}, {CELL_GRU, {1, 16}},
    {CELL_GRU, {8, 64}},     {CELL_GRU, {10, 50}},   {CELL_RNN, {1, 16}},   {CELL_RNN, {8, 64}},
    {DENSE_ALONE, {64, 64}}, {DENSE_ALONE, {50, 3}},
};
#define CASES ((int)(sizeof cases / sizeof cases[0]))

static void print_case(int k)
{
    printf("%s %lld,%lld", cell_names[cases[k].cell], (long long)cases[k].size.inputs,
           (long long)cases[k].size.hidden);
}

EI_NOINLINE void counting_begins(void);
EI_NOINLINE void counting_ends(void);
void counting_begins(void) { __asm__ volatile("" ::: "memory"); }
void counting_ends(void) { __asm__ volatile("" ::: "memory"); }

static void count(const ei_core *core)
{
    for (int k = 0; k < CASES; k++) {
        program p = new_program(core, cases[k].cell, cases[k].size);
        run_program(&p, 2);
        counting_begins();
        run_program(&p, COUNTED_STEPS);
        counting_ends();
        free_program(&p);
    }
}

#if EI_X86
static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Shortest of many short rounds by turns: what else the machine does lengthens some, never all. */
static void ratios(const ei_core *slow, const ei_core *fast)
{
    for (int k = -1; k < CASES; k++) {
        program p[2] = {{0}, {0}};
        double best[2] = {1e9, 1e9};
        for (int i = 0; i < 2 && k >= 0; i++)
            p[i] = new_program(i ? fast : slow, cases[k].cell, cases[k].size);
        for (int round = 0; round < 2 * RATIO_ROUNDS; round++) {
            const int i = round % 2;
            double units = RATIO_STEPS;
            const double start = seconds();
            if (k < 0)
                units = (i ? roofline_avx512 : roofline_avx2).fma(2000);
            else
                run_program(&p[i], RATIO_STEPS);
            const double time = (seconds() - start) / units;
            best[i] = time < best[i] ? time : best[i];
        }
        if (k < 0)
            printf("FMA");
        else
            print_case(k);
        printf(": %.3f\n", best[0] / best[1]);
        for (int i = 0; i < 2 && k >= 0; i++)
            free_program(&p[i]);
    }
}
#endif

int main(int argc, char **argv)
{
    const char *what = argc == 2 ? argv[1] : "";
    if (strcmp(what, "--cases") == 0) {
        printf("%s\n", COMPILER);
        for (int k = 0; k < CASES; k++) {
            print_case(k);
            printf(": %d\n", COUNTED_STEPS);
        }
    } else if (strcmp(what, "--cores") == 0) {
        for (const char *const *name = ei_core_names(); *name != NULL; name++)
            if (ei_core_find(*name) != NULL)
                printf("%s\n", *name);
    } else if (strcmp(what, "--ratio") == 0) {
#if EI_X86
        if (ei_core_find("avx512") != NULL)
            ratios(ei_core_find("avx2"), ei_core_find("avx512"));
#endif
    } else if (ei_core_find(what) != NULL) {
        count(ei_core_find(what));
    } else {
        fprintf(stderr, "usage: instructions --cases | --cores | --ratio | NAME of a core\n");
        return 2;
    }
    return 0;
}
