/* Steps of the C core to be timed or counted: a cell followed by Dense(1), or Dense alone. */
#ifndef EI_PROGRAMS_H
#define EI_PROGRAMS_H

#include <stddef.h>
#include <stdint.h>

#include "core.h"

enum { CELL_LSTM, CELL_GRU, CELL_RNN, CELLS, DENSE_ALONE = CELLS };
extern const char *const cell_names[CELLS + 1];
extern const int cell_gates[CELLS], cell_bias_rows[CELLS];

typedef struct size {
    int64_t inputs, hidden; /* of Dense alone: its inputs and outputs */
} size;

enum { WEIGHTS, ARENA, STATE_IN, STATE_OUT, X, Y, BASES };

typedef struct program {
    const ei_core *core;
    size_t count;
    ei_instr code[2];
    char *bases[BASES];
} program;

/* Its weights, input and state are random; exits where there is no memory. GRU: linear_before_reset. */
program new_program(const ei_core *core, int cell, size s);
/* Runs it as a stream does. Exits where the core refuses it. */
void run_program(program *p, int64_t steps);
void free_program(program *p);

/* Small normal numbers on a boundary of EI_ALIGN: nothing saturates or becomes subnormal. */
void *random_floats(size_t bytes);

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

#endif
