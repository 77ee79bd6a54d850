#define _POSIX_C_SOURCE 200112L /* posix_memalign */

#include "program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 256 };

static const uint8_t *next_byte, *last_byte;
static void *blocks[BLOCKS];
static int block_count;
static uint64_t drawn;

void begin(const uint8_t *data, size_t size)
{
    next_byte = data;
    last_byte = data + size;
    drawn = 0x9E3779B97F4A7C15u;
}

static unsigned byte(void) { return next_byte < last_byte ? *next_byte++ : 0; }

int64_t number(int64_t below)
{
    uint64_t n = byte();
    if (below > 256)
        n = n << 8 | byte();
    return (int64_t)(n % (uint64_t)below);
}

int64_t size_up_to(int64_t most)
{
    switch (number(4)) {
    case 0: return number(4) % (most + 1);
    case 1: {
        const int64_t near = 4 * (int64_t)(1 << number(6)) + number(3) - 1;
        return near < most ? near : most;
    }
    default: return number(most + 1);
    }
}

/* The cores that run here, asked once: CPUID takes microseconds in a virtual machine. */
static const ei_core *cores[8];
static int core_count, vnni;

static void find_cores(void)
{
    for (const char *const *name = ei_core_names(); *name != NULL; name++) {
        const ei_core *const core = ei_core_find(*name);
        if (core == NULL)
            continue;
        cores[core_count++] = core;
        if (ei_core_has_vnni(core))
            vnni = 1;
    }
}

const ei_core *any_core(void)
{
    if (core_count == 0)
        find_cores();
    return cores[number(core_count)];
}

/* VNNI belongs to the fastest of them. */
int has_vnni(const ei_core *core) { return vnni && core == cores[0]; }

char *memory(size_t bytes, size_t shift)
{
    void *block;
    if (block_count == BLOCKS || posix_memalign(&block, EI_ALIGN, bytes + shift) != 0)
        abort();
    blocks[block_count++] = block;
    return (char *)block + shift;
}

void release(void)
{
    while (block_count > 0)
        free(blocks[--block_count]);
}

static uint32_t draw(void)
{
    drawn ^= drawn << 13;
    drawn ^= drawn >> 7;
    drawn ^= drawn << 17;
    return (uint32_t)(drawn >> 16);
}

void fill_floats(char *at, int64_t count)
{
    static const uint32_t special[] = {0, 0x80000000, 1, 0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000,
                                       0x3f800000, 0xbf800000, 0x42b00000, 0xc2b00000, 0x4f000000, 0x5f000000};
    const int64_t kind = number(8);
    drawn += (uint64_t)number(256) << 32;
    for (int64_t k = 0; k < count; k++) {
        uint32_t bits = draw();
        if (kind == 1) {
            bits = special[bits % (sizeof special / sizeof *special)];
        } else if (kind > 2) {
            const float small = (float)((int32_t)bits >> 8) * 0x1p-22f;
            memcpy(&bits, &small, sizeof bits);
        }
        memcpy(at + 4 * k, &bits, sizeof bits);
    }
}

static void fill_bytes(char *at, int64_t count)
{
    drawn += (uint64_t)number(256) << 32;
    for (int64_t k = 0; k < count; k++)
        at[k] = (char)draw();
}

_Noreturn void finding(const char *what, const ei_instr *code)
{
    fprintf(stderr, "finding: %s\nop %d, act %d %d %d, dim", what, code->op, code->act[0], code->act[1], code->act[2]);
    for (int k = 0; k < EI_DIMS; k++)
        fprintf(stderr, " %lld", (long long)code->dim[k]);
    fprintf(stderr, "\n");
    abort();
}

/* --- sizes, as core.h and small_body.h state them ---------------------------------------------------------------- */

int64_t padded(int64_t count, int64_t to) { return (count + to - 1) / to * to; }

/* A section: blocks of `units` units, then the units left over in whole vectors. biases: bias rows of a block, and of
 * the last group. */
static int64_t section_floats(int64_t units, int64_t gates, const int64_t *biases, int64_t depth, int64_t hidden,
                              int64_t lanes)
{
    const int64_t blocks_ = hidden / units, left = hidden % units;
    const int64_t row = padded(gates * (blocks_ > 0 ? left : padded(left, lanes)), lanes);
    return blocks_ * (biases[0] + depth * gates) * units + (biases[1] + depth) * row;
}

int64_t cell_weights_bytes(int cell, int linear, int64_t inputs, int64_t hidden, int64_t lanes)
{
    const int64_t depth = inputs + hidden;
    if (cell == EI_OP_LSTM)
        return 4 * section_floats(lanes, 4, (int64_t[]){4, 1}, depth, hidden, lanes);
    if (cell == EI_OP_RNN)
        return 4 * section_floats(4 * lanes, 1, (int64_t[]){1, 1}, depth, hidden, lanes);
    if (linear)
        return 4 * section_floats(lanes, 3, (int64_t[]){4, 3}, depth, hidden, lanes);
    return 4 * (section_floats(2 * lanes, 2, (int64_t[]){2, 1}, depth, hidden, lanes) +
                section_floats(4 * lanes, 1, (int64_t[]){1, 1}, depth, hidden, lanes));
}

int64_t gate_row_floats(int cell, int linear, int64_t hidden, int64_t lanes)
{
    const int64_t nothing[] = {0, 0};
    if (cell == EI_OP_LSTM)
        return section_floats(lanes, 4, nothing, 1, hidden, lanes);
    if (cell == EI_OP_RNN)
        return section_floats(4 * lanes, 1, nothing, 1, hidden, lanes);
    if (linear)
        return section_floats(lanes, 3, nothing, 1, hidden, lanes);
    return section_floats(2 * lanes, 2, nothing, 1, hidden, lanes) +
           section_floats(4 * lanes, 1, nothing, 1, hidden, lanes);
}

static int64_t small_group(int kind, int64_t columns, int64_t biases, int64_t inputs, int64_t hidden, int64_t lanes)
{
    const int64_t vector = 4 * lanes, wide = padded(columns, lanes), item = kind == EI_WEIGHTS_F16 ? 2 : 1;
    const int64_t scales = kind == EI_WEIGHTS_F16 ? 0 : kind == EI_WEIGHTS_I8 ? 2 : 3;
    const int64_t r = kind == EI_WEIGHTS_I8_FAST ? (hidden + 3) / 4 * 4 * wide : padded(hidden * wide * item, vector);
    return padded(4 * biases, vector) + scales * 4 * wide + padded(inputs * wide * item, vector) + r;
}

static int64_t small_section(int kind, int64_t units, int64_t gates, int64_t biases, int64_t inputs, int64_t hidden,
                             int64_t total, int64_t lanes)
{
    int64_t bytes = 0;
    for (int64_t first = 0; first < total; first += units) {
        const int64_t many = total - first < units ? total - first : units;
        bytes += small_group(kind, gates * many, biases * many, inputs, hidden, lanes);
    }
    return bytes;
}

int64_t small_cell_bytes(int cell, int linear, int kind, int64_t inputs, int64_t hidden, int64_t lanes)
{
    if (cell == EI_OP_LSTM)
        return small_section(kind, lanes, 4, 4, inputs, hidden, hidden, lanes);
    if (cell == EI_OP_RNN)
        return small_section(kind, 4 * lanes, 1, 1, inputs, hidden, hidden, lanes);
    if (linear)
        return small_section(kind, lanes, 3, 4, inputs, hidden, hidden, lanes);
    return small_section(kind, 2 * lanes, 2, 2, inputs, hidden, hidden, lanes) +
           small_section(kind, 4 * lanes, 1, 1, inputs, hidden, hidden, lanes);
}

int64_t dense_bytes(int64_t inputs, int64_t columns, int64_t lanes)
{
    if (4 * columns <= lanes)
        return 4 * (lanes + columns * padded(inputs, lanes));
    return 4 * section_floats(4 * lanes, 1, (int64_t[]){1, 1}, inputs, columns, lanes);
}

int64_t small_dense_bytes(int kind, int64_t inputs, int64_t columns, int64_t lanes)
{
    return small_section(kind, 4 * lanes, 1, 1, inputs, 0, columns, lanes);
}

/* Of int8 fast R is symmetric and its corrections are small: zeros will do for them, and no group's layout matters. */
char *packed_weights(int64_t bytes, int kind)
{
    char *weights = memory((size_t)bytes, 0);
    if (kind == EI_WEIGHTS_F16 || kind == EI_WEIGHTS_I8)
        fill_bytes(weights, bytes);
    else if (kind == EI_WEIGHTS_I8_FAST)
        for (int64_t k = 0; k < bytes; k++)
            weights[k] = (char)(k % 4 == 3 ? 0 : draw() % 128);
    else
        fill_floats(weights, bytes / 4);
    return weights;
}

/* --- instructions -------------------------------------------------------------------------------------------------- */

static char *operand(program *p, int k, size_t bytes, size_t shift)
{
    if (k < OUT0)
        p->code.in_base[k] = k;
    else
        p->code.out_base[k - OUT0] = k;
    p->bytes[k] = bytes;
    p->bases[k] = memory(bytes, shift);
    return p->bases[k];
}

static void put(program *p, int k, char *at, size_t bytes)
{
    p->code.in_base[k] = k;
    p->bytes[k] = bytes;
    p->bases[k] = at;
}

/* Users' arrays lie anywhere. */
static size_t shift(void) { return (size_t)number(2) * 4; }

static void floats_in(program *p, int k, int64_t count) { fill_floats(operand(p, k, (size_t)count * 4, shift()), count); }

static void out(program *p, int k, int64_t bytes, int64_t written)
{
    operand(p, OUT0 + k, (size_t)bytes, shift());
    p->written[k] = (size_t)written;
}

/* Indices of a table, mostly of rows that it has. */
static void indices_in(program *p, int k, int64_t count, int64_t rows, int64_t dtype)
{
    const int wide = dtype == EI_I64;
    char *at = operand(p, k, (size_t)count * (wide ? 8 : 4), shift());
    const int strays = number(8) == 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t index = rows > 0 ? number(2 * rows) - rows : number(4);
        if (strays && number(4) == 0)
            index = wide ? (int64_t)((uint64_t)draw() << 32 | draw()) : (int32_t)draw();
        if (strays && number(4) == 0)
            index = number(2) ? rows : -rows - 1;
        if (index < -rows || index >= rows)
            p->expected = EI_INDEX_OUT_OF_RANGE;
        const int32_t narrow = (int32_t)index;
        memcpy(at + i * (wide ? 8 : 4), wide ? (const void *)&index : (const void *)&narrow, wide ? 8 : 4);
    }
}

static void activations(program *p, int count)
{
    for (int k = 0; k < count; k++) {
        const int64_t act = number(24);
        p->code.act[k] = (int32_t)(act < 12 ? act : act < 20 ? EI_ACT_EXP + act - 12 : EI_ACT_SIGMOID + act % 2);
        fill_floats((char *)&p->code.alpha[k], 1);
        fill_floats((char *)&p->code.beta[k], 1);
    }
}

static void make_cell(program *p, const ei_core *core)
{
    int64_t *dim = p->code.dim;
    const int cell = EI_OP_LSTM + (int)number(3), masked = number(3) == 0, kind = (int)number(4);
    const int lstm = cell == EI_OP_LSTM, linear = (int)number(2), rows = kind == 0 && number(3) == 0;
    const int64_t steps = number(2) ? 1 : number(3) ? number(6) : number(70), batch = number(2) ? 1 : number(4);
    const int64_t inputs = size_up_to(20), directions = 1 + number(2);
    const int64_t hidden = 1 + size_up_to(number(8) ? 40 : 150), lanes = core->lanes;
    const int op = kind == 0 ? cell : EI_OP_LSTM_SMALL + cell - EI_OP_LSTM;
    const int64_t dims[] = {steps, batch, inputs, hidden, directions, number(directions), number(2), linear,
                            kind,  kind == EI_WEIGHTS_I8_FAST && has_vnni(core)};
    memcpy(dim, dims, sizeof dims);
    p->code.op = masked ? EI_OP_MASKED : op;
    if (number(2) == 0) {
        p->code.act[0] = cell == EI_OP_RNN ? EI_ACT_TANH : EI_ACT_SIGMOID;
        p->code.act[1] = p->code.act[2] = EI_ACT_TANH;
    } else {
        activations(p, lstm ? 3 : cell == EI_OP_GRU ? 2 : 1);
    }
    const int64_t weights = kind ? small_cell_bytes(cell, linear, kind, inputs, hidden, lanes)
                                 : cell_weights_bytes(cell, linear, inputs, hidden, lanes);
    put(p, 1, packed_weights(weights, kind), (size_t)weights);
    const int64_t state = directions * batch * hidden, own = batch * hidden;
    if (number(3))
        floats_in(p, 2, state);
    if (lstm && number(3))
        floats_in(p, 3, state);
    const int64_t scratch = kind ? EI_SCRATCH_ROWS + 1
                                 : EI_SCRATCH_ROWS + (steps * batch > 1 ? 4 * EI_STEPS_AHEAD : 0);
    operand(p, 4, (size_t)(scratch * padded(hidden, lanes) * 4), 0);
    if (rows) {
        const int64_t floats = gate_row_floats(cell, linear, hidden, lanes), tokens = size_up_to(9);
        dim[10] = tokens;
        dim[11] = EI_I32 + number(2);
        dim[12] = batch;
        dim[13] = 1;
        if (number(2)) {
            dim[12] = 1;
            dim[13] = steps;
        }
        indices_in(p, 0, steps * batch, tokens, dim[11]);
        fill_floats(operand(p, 5, (size_t)(tokens * floats * 4), 0), tokens * floats);
    } else {
        floats_in(p, 0, steps * batch * inputs);
    }
    if (masked) {
        dim[14] = op;
        dim[15] = number(2);
        if (dim[15] == EI_STEPS_BY_LENGTH) {
            char *lengths = operand(p, 6, (size_t)batch * 4, shift());
            for (int64_t b = 0; b < batch; b++) {
                const int32_t length = (int32_t)(number(16) ? number(steps + 1) : number(2) ? -1 : steps + 1);
                if (length < 0 || length > steps)
                    p->expected = EI_LENGTH_OUT_OF_RANGE;
                memcpy(lengths + 4 * b, &length, sizeof length);
            }
        } else {
            char *mask = operand(p, 6, (size_t)(steps * batch), 0);
            const int64_t kept = number(4);
            for (int64_t k = 0; k < steps * batch; k++)
                mask[k] = (char)(kept == 0 ? number(2) : kept == 1 ? 0 : draw() % (uint32_t)kept);
            dim[16] = batch;
            dim[17] = 1;
            if (number(2)) {
                dim[16] = 1;
                dim[17] = steps;
            }
            dim[18] = number(2);
            dim[19] = number(2);
        }
    }
    if (number(4))
        out(p, 0, steps * state * 4, steps * own * 4);
    if (number(4))
        out(p, 1, state * 4, own * 4);
    if (lstm && number(4))
        out(p, 2, state * 4, own * 4);
}

static void make_dense(program *p, const ei_core *core)
{
    const int kind = (int)number(3);
    const int64_t rows = number(9), inputs = size_up_to(70), columns = size_up_to(150), lanes = core->lanes;
    const int64_t bytes = kind ? small_dense_bytes(kind, inputs, columns, lanes) : dense_bytes(inputs, columns, lanes);
    const int64_t dims[] = {rows, inputs, columns, kind};
    p->code.op = kind ? EI_OP_DENSE_SMALL : EI_OP_DENSE;
    memcpy(p->code.dim, dims, sizeof dims);
    activations(p, 1);
    floats_in(p, 0, rows * inputs);
    put(p, 1, packed_weights(bytes, kind), (size_t)bytes);
    out(p, 0, rows * columns * 4, rows * columns * 4);
}

static void make_x_sums(program *p, const ei_core *core)
{
    const int cell = EI_OP_LSTM + (int)number(3), linear = (int)number(2);
    const int64_t rows = number(9), inputs = size_up_to(20), hidden = 1 + size_up_to(150);
    const int64_t bytes = cell_weights_bytes(cell, linear, inputs, hidden, core->lanes);
    const int64_t sums = 4 * rows * gate_row_floats(cell, linear, hidden, core->lanes);
    const int64_t dims[] = {cell, rows, inputs, hidden, linear};
    p->code.op = EI_OP_X_SUMS;
    memcpy(p->code.dim, dims, sizeof dims);
    floats_in(p, 0, rows * inputs);
    put(p, 1, packed_weights(bytes, 0), (size_t)bytes);
    operand(p, OUT0, (size_t)sums, 0);
    p->written[0] = (size_t)sums;
}

static void make_gather(program *p)
{
    const int64_t count = number(9), rows = size_up_to(9), dtype = EI_I32 + number(2), kind = number(3);
    if (kind == 0) {
        const int64_t dims[] = {count, rows, number(40), dtype};
        p->code.op = EI_OP_GATHER;
        memcpy(p->code.dim, dims, sizeof dims);
        fill_bytes(operand(p, 0, (size_t)(rows * dims[2]), 0), rows * dims[2]);
        indices_in(p, 1, count, rows, dtype);
        out(p, 0, count * dims[2], count * dims[2]);
        return;
    }
    const int64_t dims[] = {count, rows, size_up_to(40), dtype, kind}, item = kind == EI_WEIGHTS_F16 ? 2 : 1;
    const int64_t table = rows * dims[2] * item;
    p->code.op = EI_OP_GATHER_SMALL;
    memcpy(p->code.dim, dims, sizeof dims);
    fill_bytes(operand(p, 0, (size_t)table + EI_ALIGN, 0), table + EI_ALIGN);
    indices_in(p, 1, count, rows, dtype);
    if (kind == EI_WEIGHTS_I8)
        fill_floats(operand(p, 2, (size_t)rows * 4, 0), rows);
    out(p, 0, count * dims[2] * 4, count * dims[2] * 4);
}

static void make_unary(program *p)
{
    const int softmax = (int)number(3) == 0;
    const int64_t rows = softmax ? number(5) : 1, count = rows * size_up_to(80);
    p->code.op = softmax ? EI_OP_SOFTMAX : EI_OP_UNARY;
    p->code.dim[0] = softmax ? rows : count;
    p->code.dim[1] = softmax && rows ? count / rows : 0;
    p->code.dim[2] = softmax ? number(2) : 0;
    if (!softmax)
        activations(p, 1);
    floats_in(p, 0, count);
    out(p, 0, count * 4, count * 4);
}

/* The sizes of an array. Gives their product. */
static int64_t shape(int64_t *size, int64_t rank)
{
    int64_t total = 1, without_zeros = 1;
    for (int64_t k = 0; k < rank; k++) {
        size[k] = size_up_to(without_zeros > 64 ? 2 : 20);
        total *= size[k];
        without_zeros *= size[k] > 0 ? size[k] : 1;
    }
    return total;
}

/* An input that is read with some of the output's axes repeated. */
static void broadcast_in(program *p, int k, const int64_t *size, int64_t *stride, int64_t rank, int64_t item)
{
    int64_t count = 1;
    for (int64_t axis = rank - 1; axis >= 0; axis--) {
        stride[axis] = number(4) == 0 ? 0 : count;
        count *= stride[axis] ? size[axis] : 1;
    }
    char *at = operand(p, k, (size_t)(count * item), item == 1 ? 0 : shift());
    if (item == 4)
        fill_floats(at, count);
    else
        fill_bytes(at, count * item);
}

static void make_broadcast(program *p)
{
    const int which = (int)number(3);
    const int64_t rank = number(which == 2 ? EI_WHERE_RANK + 1 : EI_MAX_RANK + 1), dtype = number(which == 1 ? 4 : 3);
    int64_t *dim = p->code.dim, *size = dim + (which == 2 ? 2 : 3), *stride = size + rank;
    const int64_t count = shape(size, rank);
    int64_t item = dtype == EI_I64 ? 8 : dtype == EI_BOOL ? 1 : 4;
    p->code.op = which == 0 ? EI_OP_BINARY : which == 1 ? EI_OP_COMPARE : EI_OP_WHERE;
    if (which == 2) {
        item = (const int64_t[]){1, 4, 8}[number(3)];
        dim[0] = item;
        dim[1] = rank;
        broadcast_in(p, 0, size, stride, rank, 1);
        broadcast_in(p, 1, size, stride + rank, rank, item);
        broadcast_in(p, 2, size, stride + 2 * rank, rank, item);
        out(p, 0, count * item, count * item);
        return;
    }
    dim[0] = number(which == 0 ? 6 : 7);
    dim[1] = dtype;
    dim[2] = rank;
    if (which == 0 && dtype == EI_F32)
        activations(p, 1);
    broadcast_in(p, 0, size, stride, rank, item);
    broadcast_in(p, 1, size, stride + rank, rank, item);
    if (which == 1)
        item = 1;
    out(p, 0, count * item, count * item);
}

static void make_reduce(program *p)
{
    const int64_t dtype = number(3), item = dtype == EI_I64 ? 8 : 4;
    const int64_t rows = number(6), n = 1 + size_up_to(40), inner = number(2) ? 1 : number(20);
    const int64_t dims[] = {(const int64_t[]){EI_ADD, EI_MUL, EI_MIN, EI_MAX}[number(4)], dtype, rows, n, inner,
                            dtype == EI_F32 && number(2)};
    p->code.op = EI_OP_REDUCE;
    memcpy(p->code.dim, dims, sizeof dims);
    char *at = operand(p, 0, (size_t)(rows * n * inner * item), shift());
    if (dtype == EI_F32)
        fill_floats(at, rows * n * inner);
    else
        fill_bytes(at, rows * n * inner * item);
    out(p, 0, rows * inner * item, rows * inner * item);
}

/* The source's axes stand in any order, run backwards, or are repeated; the destination is part of a larger array. */
static void make_copy(program *p)
{
    int64_t *dim = p->code.dim;
    const int64_t rank = number(EI_MAX_RANK + 1), item = 1 << number(4);
    int64_t *size = dim + 2, *from = size + rank, *to = from + rank, order[EI_MAX_RANK];
    const int64_t count = shape(size, rank), wider = rank ? number(rank) : 0, more = rank ? number(3) : 0;
    int64_t span = 1, start = 0, total = 1;
    p->code.op = EI_OP_COPY;
    dim[0] = item;
    dim[1] = rank;
    for (int64_t k = 0; k < rank; k++)
        order[k] = k;
    for (int64_t k = rank - 1; k > 0; k--) {
        const int64_t other = number(k + 1), held = order[k];
        order[k] = order[other];
        order[other] = held;
    }
    for (int64_t k = 0; k < rank; k++) {
        const int64_t axis = order[k], turn = number(4), n = size[axis] > 0 ? size[axis] : 1;
        from[axis] = turn == 0 ? 0 : turn == 1 ? -span : span;
        start += turn == 1 ? (n - 1) * span : 0;
        span *= turn == 0 ? 1 : n;
    }
    for (int64_t k = rank - 1; k >= 0; k--) {
        to[k] = total;
        total *= size[k] + (k == wider ? more : 0);
    }
    const int64_t offset = rank && more ? number(more + 1) * to[wider] : 0;
    fill_bytes(operand(p, 0, (size_t)(span * item), shift()), span * item);
    p->code.in[0] = start * item;
    out(p, 0, total * item, count * item);
    p->code.out[0] = offset * item;
}

static void make_cast(program *p)
{
    const int64_t count = size_up_to(70), from = number(4), to = number(4), items[] = {4, 4, 8, 1};
    const int64_t dims[] = {count, from, to};
    p->code.op = EI_OP_CAST;
    memcpy(p->code.dim, dims, sizeof dims);
    char *at = operand(p, 0, (size_t)(count * items[from]), from == EI_BOOL ? 0 : shift());
    if (from == EI_F32)
        fill_floats(at, count);
    else
        fill_bytes(at, count * items[from]);
    out(p, 0, count * items[to], count * items[to]);
}

/* A field that names one of a few things names another one. */
static void spoil(program *p)
{
    static const struct {
        int op, dim;
    } choices[] = {{EI_OP_GATHER, 3},  {EI_OP_GATHER_SMALL, 3}, {EI_OP_GATHER_SMALL, 4}, {EI_OP_BINARY, 0},
                   {EI_OP_BINARY, 1},  {EI_OP_BINARY, 2},       {EI_OP_COMPARE, 0},      {EI_OP_COMPARE, 1},
                   {EI_OP_COMPARE, 2}, {EI_OP_WHERE, 0},        {EI_OP_WHERE, 1},        {EI_OP_REDUCE, 0},
                   {EI_OP_REDUCE, 1},  {EI_OP_COPY, 0},         {EI_OP_COPY, 1},         {EI_OP_CAST, 1},
                   {EI_OP_CAST, 2},    {EI_OP_X_SUMS, 0},       {EI_OP_MASKED, 14},      {EI_OP_MASKED, 15},
                   {EI_OP_LSTM_SMALL, 8}, {EI_OP_GRU_SMALL, 8}, {EI_OP_RNN_SMALL, 8},    {EI_OP_DENSE_SMALL, 3}};
    static const int64_t values[] = {-1, 100, INT64_MIN, INT64_MAX, INT64_C(1) << 32, 48};
    const int64_t value = values[number(sizeof values / sizeof *values)];
    p->faulty = 1;
    switch (number(4)) {
    case 0: p->code.op = (int32_t)(number(2) ? value : 16 + number(16)); return;
    case 1: p->code.act[0] = (int32_t)(number(2) ? value : 12 + number(20)); break;
    default:
        for (size_t k = 0; k < sizeof choices / sizeof *choices; k++)
            if (choices[k].op == p->code.op && number(2)) {
                p->code.dim[choices[k].dim] = value;
                return;
            }
        p->code.op = 0;
        return;
    }
    /* where the op has no activation the field is not read */
    switch (p->code.op) {
    case EI_OP_LSTM: case EI_OP_GRU: case EI_OP_RNN: case EI_OP_MASKED: case EI_OP_DENSE: case EI_OP_UNARY:
    case EI_OP_BINARY: case EI_OP_LSTM_SMALL: case EI_OP_GRU_SMALL: case EI_OP_RNN_SMALL: case EI_OP_DENSE_SMALL: return;
    default: p->code.op = -7;
    }
}

void make_program(program *p, const ei_core *core)
{
    memset(p, 0, sizeof *p);
    p->code = ei_bare_instr(0);
    switch (number(12)) {
    case 0: make_dense(p, core); break;
    case 1: make_x_sums(p, core); break;
    case 2: make_gather(p); break;
    case 3: make_unary(p); break;
    case 4: make_broadcast(p); break;
    case 5: make_reduce(p); break;
    case 6: make_copy(p); break;
    case 7: make_cast(p); break;
    default: make_cell(p, core); break;
    }
    if (number(16) == 15)
        spoil(p);
}
