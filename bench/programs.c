#include "programs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const cell_names[CELLS + 1] = {"LSTM", "GRU", "RNN", "Dense"};
const int cell_gates[CELLS] = {4, 3, 1}, cell_bias_rows[CELLS] = {4, 4, 1};
static const int cell_ops[CELLS] = {EI_OP_LSTM, EI_OP_GRU, EI_OP_RNN};

static int64_t padded(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

void *random_floats(size_t bytes)
{
    float *p = aligned_alloc(EI_ALIGN, (size_t)padded((int64_t)bytes, EI_ALIGN));
    if (p == NULL) {
        fprintf(stderr, "no memory for %zu bytes\n", bytes);
        exit(1);
    }
    uint32_t seed = 12345;
    for (size_t k = 0; k < bytes / sizeof(float); k++) {
        seed = seed * 1664525u + 1013904223u;
        p[k] = (float)((int32_t)(seed >> 8) - (1 << 23)) / (1 << 26);
    }
    return p;
}

static void put_in(ei_instr *instr, int operand, int base, int64_t offset)
{
    instr->in_base[operand] = base;
    instr->in[operand] = offset;
}

static void put_out(ei_instr *instr, int operand, int base, int64_t offset)
{
    instr->out_base[operand] = base;
    instr->out[operand] = offset;
}

/* The weights' values are of no account here, so neither is the order in which they are packed, as long as there are
 * enough for whole vectors of every gate. */
program new_program(const ei_core *core, int cell, size s)
{
    const int64_t bytes = sizeof(float), row = padded(s.hidden, EI_ALIGN) * bytes, scratch = EI_SCRATCH_ROWS * row;
    const int64_t columns = padded(s.hidden, EI_ALIGN) * (1 + s.inputs) * bytes;
    program p = {.core = core};
    p.bases[X] = random_floats((size_t)(s.inputs * bytes));
    p.bases[Y] = random_floats((size_t)row);
    if (cell == DENSE_ALONE) {
        p.bases[WEIGHTS] = random_floats((size_t)columns);
        ei_instr *dense = &p.code[p.count++];
        *dense = ei_bare_instr(EI_OP_DENSE);
        memcpy(dense->dim, (int64_t[]){1, s.inputs, s.hidden}, 3 * sizeof(int64_t));
        put_in(dense, 0, X, 0);
        put_in(dense, 1, WEIGHTS, 0);
        put_out(dense, 0, Y, 0);
        return p;
    }
    const int64_t rows = cell_bias_rows[cell] + cell_gates[cell] * (s.inputs + s.hidden);
    const int64_t head_weights = padded(padded(s.hidden, core->lanes) * rows * bytes, EI_ALIGN);
    p.bases[WEIGHTS] = random_floats((size_t)(head_weights + (1 + padded(s.hidden, EI_ALIGN)) * EI_ALIGN));
    p.bases[ARENA] = random_floats((size_t)(scratch + row));
    p.bases[STATE_IN] = random_floats((size_t)(2 * row));
    p.bases[STATE_OUT] = random_floats((size_t)(2 * row));
    ei_instr *recurrent = &p.code[p.count++], *head = &p.code[p.count++];
    *recurrent = ei_bare_instr(cell_ops[cell]);
    recurrent->act[0] = cell == CELL_RNN ? EI_ACT_TANH : EI_ACT_SIGMOID;
    recurrent->act[1] = recurrent->act[2] = EI_ACT_TANH;
    memcpy(recurrent->dim, (int64_t[]){1, 1, s.inputs, s.hidden, 1, 0, 0, 1}, 8 * sizeof(int64_t));
    put_in(recurrent, 0, X, 0);
    put_in(recurrent, 1, WEIGHTS, 0);
    put_in(recurrent, 2, STATE_IN, 0);
    put_in(recurrent, 4, ARENA, 0);
    put_out(recurrent, 0, ARENA, scratch);
    put_out(recurrent, 1, STATE_OUT, 0);
    if (cell == CELL_LSTM) {
        put_in(recurrent, 3, STATE_IN, row);
        put_out(recurrent, 2, STATE_OUT, row);
    }
    *head = ei_bare_instr(EI_OP_DENSE);
    memcpy(head->dim, (int64_t[]){1, s.hidden, 1}, 3 * sizeof(int64_t));
    put_in(head, 0, ARENA, scratch);
    put_in(head, 1, WEIGHTS, head_weights);
    put_out(head, 0, Y, 0);
    return p;
}

void run_program(program *p, int64_t steps)
{
    const ei_step layout = {STATE_IN, STATE_OUT, X, Y, 0, 0};
    size_t failed_step, failed;
    if (ei_run_steps(p->core, p->code, p->count, p->bases, &layout, (size_t)steps, &failed_step, &failed) != EI_OK) {
        fprintf(stderr, "the core refused instruction %zu\n", failed);
        exit(1);
    }
}

void free_program(program *p)
{
    for (int k = 0; k < BASES; k++)
        free(p->bases[k]);
}
