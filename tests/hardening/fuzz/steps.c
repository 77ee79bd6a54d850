/* Steps of a stateful model, a cell and a Dense behind it, on any core: ei_run_steps of each stream, ei_run_pool of all
 * of them and one instruction over the whole sequence give the same bits; a step that fails changes no state. */
#include <string.h>

#include "program.h"

enum { WEIGHTS, CONSTANTS, ARENA, BEFORE, AFTER, X, Y, BASES };
enum { MASK, CELL, DENSE, CODES };
enum { STREAMS = 40 };

typedef struct model {
    const ei_core *core;
    ei_instr code[CODES];
    size_t first; /* instruction: MASK, or CELL where all steps count */
    int op, linear, kind, masked, rows;
    int64_t inputs, hidden, columns, tokens, x_bytes;
    char *weights, *zero;
    int64_t dense_at, table_at, c_at, bank, scratch, mask_at, h_at, arena;
} model;

static ei_instr instruction(int op, const int64_t *dims, size_t count)
{
    ei_instr code = ei_bare_instr(op);
    memcpy(code.dim, dims, count * sizeof *dims);
    return code;
}

static void in(ei_instr *code, int k, int base, int64_t offset)
{
    code->in_base[k] = base;
    code->in[k] = offset;
}

static void out(ei_instr *code, int k, int base, int64_t offset)
{
    code->out_base[k] = base;
    code->out[k] = offset;
}

/* The cell over `steps` steps of `batch` rows. */
static ei_instr cell_of(const model *m, int64_t steps, int64_t batch)
{
    const int small = m->kind != 0, vnni = m->kind == EI_WEIGHTS_I8_FAST && has_vnni(m->core);
    const int op = small ? EI_OP_LSTM_SMALL + m->op - EI_OP_LSTM : m->op;
    const int64_t dims[] = {steps,     batch,     m->inputs, m->hidden, 1,  0,           0, m->linear, m->kind, vnni,
                            m->tokens, EI_I32,    batch,     1,         op, EI_STEPS_BY_MASK, batch, 1, 0,      0};
    ei_instr code = instruction(m->masked ? EI_OP_MASKED : op, dims, sizeof dims / sizeof *dims);
    memcpy(code.act, m->code[CELL].act, sizeof code.act);
    memcpy(code.alpha, m->code[CELL].alpha, sizeof code.alpha);
    memcpy(code.beta, m->code[CELL].beta, sizeof code.beta);
    in(&code, 0, X, 0);
    in(&code, 1, WEIGHTS, 0);
    in(&code, 2, BEFORE, 0);
    in(&code, 4, ARENA, 0);
    if (m->rows)
        in(&code, 5, WEIGHTS, m->table_at);
    if (m->masked)
        in(&code, 6, ARENA, m->mask_at);
    out(&code, 0, ARENA, m->h_at);
    out(&code, 1, AFTER, 0);
    if (m->op == EI_OP_LSTM) {
        in(&code, 3, BEFORE, m->c_at);
        out(&code, 2, AFTER, m->c_at);
    }
    return code;
}

static model make_model(void)
{
    model m = {.core = any_core(), .op = EI_OP_LSTM + (int)number(3), .linear = (int)number(2)};
    const int64_t lanes = m.core->lanes;
    m.kind = (int)number(5) % 4;
    m.rows = m.kind == 0 && number(3) == 0;
    m.masked = !m.rows && number(4) == 0;
    m.first = m.masked ? MASK : CELL;
    m.inputs = m.masked ? 1 + size_up_to(8) : size_up_to(20);
    m.hidden = 1 + size_up_to(number(8) ? 40 : 140);
    m.columns = 1 + size_up_to(40);
    m.tokens = m.rows ? 1 + size_up_to(5) : 0;
    m.x_bytes = m.rows ? 4 : 4 * m.inputs;
    const int64_t cell = m.kind ? small_cell_bytes(m.op, m.linear, m.kind, m.inputs, m.hidden, lanes)
                                : cell_weights_bytes(m.op, m.linear, m.inputs, m.hidden, lanes);
    const int64_t dense = dense_bytes(m.hidden, m.columns, lanes);
    const int64_t table = 4 * m.tokens * gate_row_floats(m.op, m.linear, m.hidden, lanes);
    const char *const cell_weights = packed_weights(cell, m.kind);
    m.dense_at = padded(cell, EI_ALIGN);
    m.table_at = m.dense_at + padded(dense, EI_ALIGN);
    m.weights = memory((size_t)(m.rows ? m.table_at + table : m.dense_at + dense), 0);
    memcpy(m.weights, cell_weights, (size_t)cell);
    fill_floats(m.weights + m.dense_at, dense / 4);
    fill_floats(m.weights + m.table_at, table / 4);
    m.zero = memset(memory(4, 0), 0, 4);
    const int64_t state = 4 * m.hidden;
    m.c_at = padded(state, EI_ALIGN);
    m.bank = padded(m.op == EI_OP_LSTM ? m.c_at + state : state, EI_ALIGN);
    m.scratch = 4 * (EI_SCRATCH_ROWS + 1) * padded(m.hidden, lanes);
    m.mask_at = padded(m.scratch, EI_ALIGN);
    m.h_at = m.mask_at + EI_ALIGN;
    m.arena = m.h_at + state;
    ei_instr *const acts = m.code + CELL;
    acts->act[0] = m.op == EI_OP_RNN ? EI_ACT_TANH : EI_ACT_SIGMOID;
    acts->act[1] = acts->act[2] = EI_ACT_TANH;
    if (number(3) == 0)
        for (int k = 0; k < EI_ACTS; k++)
            acts->act[k] = (int32_t)number(EI_ACT_SOFTPLUS + 1);
    acts->alpha[0] = acts->alpha[1] = acts->alpha[2] = 0.5f;
    acts->beta[0] = acts->beta[1] = acts->beta[2] = 0.25f;
    m.code[MASK] = instruction(EI_OP_COMPARE, (int64_t[]){EI_GREATER, EI_F32, 1, 1, 0, 0}, 6);
    in(m.code + MASK, 0, X, 0);
    in(m.code + MASK, 1, CONSTANTS, 0);
    out(m.code + MASK, 0, ARENA, m.mask_at);
    m.code[CELL] = cell_of(&m, 1, 1);
    m.code[DENSE] = instruction(EI_OP_DENSE, (int64_t[]){1, m.hidden, m.columns}, 3);
    m.code[DENSE].act[0] = (int32_t)number(4);
    in(m.code + DENSE, 0, ARENA, m.h_at);
    in(m.code + DENSE, 1, WEIGHTS, m.dense_at);
    out(m.code + DENSE, 0, Y, 0);
    return m;
}

/* Bit for bit, but for what a NaN carries with it. */
static void same(const model *m, const char *what, const char *a, const char *b, int64_t floats)
{
    for (int64_t k = 0; k < floats; k++) {
        float p, q;
        memcpy(&p, a + 4 * k, 4);
        memcpy(&q, b + 4 * k, 4);
        if (memcmp(&p, &q, 4) != 0 && !(p != p && q != q))
            finding(what, m->code + CELL);
    }
}

/* The states of two banks. */
static void same_state(const model *m, const char *what, const char *a, const char *b)
{
    same(m, what, a, b, m->hidden);
    if (m->op == EI_OP_LSTM)
        same(m, what, a + m->c_at, b + m->c_at, m->hidden);
}

static int is_token(const model *m, const char *x)
{
    int32_t token;
    memcpy(&token, x, sizeof token);
    return token >= -m->tokens && token < m->tokens;
}

/* One cell over the sequence of all streams as a batch, and one Dense over all its rows. */
static void check_sequence(const model *m, int64_t steps, int64_t streams, char *x, const char *start, const char *y,
                           char *const *ends)
{
    const int64_t state = 4 * m->hidden, rows = steps * streams;
    const int64_t scratch = 4 * (EI_SCRATCH_ROWS + 4 * EI_STEPS_AHEAD) * padded(m->hidden, m->core->lanes);
    model all = *m;
    all.c_at = padded(streams * state, EI_ALIGN);
    all.mask_at = padded(scratch, EI_ALIGN);
    all.h_at = all.mask_at + padded(rows, EI_ALIGN);
    const size_t bank = (size_t)(all.c_at + streams * state);
    char *const before = memory(bank, 0), *const after = memory(bank, 0), *const arena = memory((size_t)(all.h_at + rows * state), 0);
    char *const found = memory((size_t)(rows * m->columns * 4), 0);
    for (int64_t k = 0; k < streams; k++) {
        memcpy(before + k * state, start + k * m->bank, (size_t)state);
        if (m->op == EI_OP_LSTM)
            memcpy(before + all.c_at + k * state, start + k * m->bank + m->c_at, (size_t)state);
    }
    ei_instr code[CODES] = {m->code[MASK], cell_of(&all, steps, streams), m->code[DENSE]};
    memcpy(code[MASK].dim, (int64_t[]){EI_GREATER, EI_F32, 1, rows, m->inputs, 0}, 6 * sizeof(int64_t));
    out(code + MASK, 0, ARENA, all.mask_at);
    in(code + DENSE, 0, ARENA, all.h_at);
    code[DENSE].dim[0] = rows;
    char *const bases[BASES] = {m->weights, m->zero, arena, before, after, x, found};
    size_t failed;
    if (m->core->run(code + m->first, CODES - m->first, bases, &failed) != EI_OK)
        finding("the sequence fails and its steps do not", m->code + CELL);
    same(m, "the sequence gives other answers than its steps", found, y, rows * m->columns);
    for (int64_t k = 0; k < streams; k++) {
        same(m, "the sequence ends in another h", after + k * state, ends[k], m->hidden);
        if (m->op == EI_OP_LSTM)
            same(m, "the sequence ends in another c", after + all.c_at + k * state, ends[k] + m->c_at, m->hidden);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    begin(data, size);
    const model m = make_model();
    const int64_t streams = 1 + (number(4) ? number(6) : number(STREAMS)), steps = 1 + number(5);
    const int64_t y_bytes = 4 * m.columns, x_row = streams * m.x_bytes, y_row = streams * y_bytes;
    char *const x = memory((size_t)(steps * x_row), 4), *const y = memory((size_t)(steps * y_row), 4);
    char *const start = memory((size_t)(streams * m.bank), 0), *ends[STREAMS];
    const ei_instr *const code = m.code + m.first;
    const size_t count = CODES - m.first;
    int64_t good = steps; /* before the first one in which a token is not in the table */
    fill_floats(start, streams * m.bank / 4);
    if (!m.rows)
        fill_floats(x, steps * streams * m.inputs);
    for (int64_t k = 0; m.rows && k < steps * streams; k++) {
        const int32_t token = (int32_t)(number(64) == 63 ? m.tokens : number(2 * m.tokens) - m.tokens);
        memcpy(x + 4 * k, &token, sizeof token);
        if (!is_token(&m, x + 4 * k) && k / streams < good)
            good = k / streams;
    }

    for (int64_t k = 0; k < streams; k++) {
        char *const before = memory((size_t)m.bank, 0), *const after = memory((size_t)m.bank, 0);
        char *bases[BASES] = {m.weights, m.zero, memory((size_t)m.arena, 0), before, after, x + k * m.x_bytes,
                              y + k * y_bytes};
        const ei_step layout = {BEFORE, AFTER, X, Y, x_row, y_row};
        size_t failed_step = 99, failed = 99;
        memcpy(before, start + k * m.bank, (size_t)m.bank);
        if (ei_run_steps(m.core, code, count, bases, &layout, (size_t)good, &failed_step, &failed) != EI_OK)
            finding("a step fails", m.code + CELL);
        ends[k] = bases[BEFORE];
    }
    check_sequence(&m, good, streams, x, start, y, ends);

    const int64_t slots = streams + 2, stride = padded(m.arena, EI_ALIGN), turn = number(slots);
    uint8_t live[STREAMS + 2];
    int64_t which[STREAMS];
    const ei_pool pool = {m.weights, m.zero, memory((size_t)(EI_POOL_ROWS * stride), 0), stride,
                          memory((size_t)(2 * slots * m.bank), 0), m.bank, live, m.x_bytes, y_bytes};
    char *const answers = memory((size_t)y_row, 4);
    for (int64_t k = 0; k < slots; k++)
        live[k] = (uint8_t)number(2);
    for (int64_t k = 0; k < streams; k++) {
        which[k] = (k + turn) % slots;
        memcpy(pool.states + (2 * which[k] + live[which[k]]) * m.bank, start + k * m.bank, (size_t)m.bank);
    }
    for (int64_t step = 0; step < good + (good < steps); step++) {
        size_t row = 99, failed = 99;
        const ei_status status = ei_run_pool(m.core, code, count, &pool, which, (size_t)streams, x + step * x_row,
                                             answers, &row, &failed);
        if (step < good && status == EI_OK)
            same(&m, "the pool gives other answers than streams", answers, y + step * y_row, streams * m.columns);
        else if (step < good || status != EI_INDEX_OUT_OF_RANGE || row >= (size_t)streams ||
                 is_token(&m, x + step * x_row + (int64_t)row * m.x_bytes))
            finding("the pool ends in another status", m.code + CELL);
    }
    for (int64_t k = 0; k < streams; k++)
        same_state(&m, "the pool ends in another state", pool.states + (2 * which[k] + live[which[k]]) * m.bank, ends[k]);
    release();
    return 0;
}
