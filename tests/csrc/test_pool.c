/* Many streams at once against each alone, bit for bit. The weights may be any numbers, so nothing is packed here. */
#include "harness.h"

enum { SLOTS = 80, MOST = 71 };

typedef struct net {
    ei_instr code[3]; /* x → cell → Dense → y, and a Gather of nothing that matters where an index is to fail */
    size_t count;
    int64_t inputs, columns, state_floats, arena_bytes;
    float *weights;
} net;

enum { B_WEIGHTS, B_CONSTANTS, B_ARENA, B_BEFORE, B_AFTER, B_X, B_Y };

static void place(ei_instr *instr, int operand, int base, int64_t offset)
{
    if (operand < EI_INS) {
        instr->in_base[operand] = base;
        instr->in[operand] = offset;
    } else {
        instr->out_base[operand - EI_INS] = base;
        instr->out[operand - EI_INS] = offset;
    }
}

static net make(int op, int linear, int64_t inputs, int64_t hidden, int64_t columns)
{
    const int64_t lanes = core->lanes, padded = (hidden + lanes - 1) / lanes * lanes;
    const int64_t cell = 8 * (inputs + hidden + 5) * (padded + 4 * lanes);
    const int64_t dense = (inputs + hidden + 2) * (columns + 5 * lanes), h = hidden * 4;
    net n = {.count = 2, .inputs = inputs, .columns = columns, .state_floats = 2 * hidden};
    n.weights = filled(aligned(cell + dense), cell + dense, 0.3f);
    const int64_t scratch = (h + EI_ALIGN - 1) / EI_ALIGN * EI_ALIGN;
    n.arena_bytes = scratch + EI_SCRATCH_ROWS * padded * 4;
    ei_instr *step = n.code;
    *step = ei_bare_instr(op);
    const int64_t dims[] = {1, 1, inputs, hidden, 1, 0, 0, linear};
    memcpy(step->dim, dims, sizeof dims);
    step->act[0] = op == EI_OP_RNN ? EI_ACT_TANH : EI_ACT_SIGMOID;
    step->act[1] = step->act[2] = EI_ACT_TANH;
    place(step, 0, B_X, 0);
    place(step, 1, B_WEIGHTS, 0);
    place(step, 2, B_BEFORE, 0);
    place(step, 4, B_ARENA, scratch);
    place(step, OUT0, B_ARENA, 0);
    place(step, OUT1, B_AFTER, 0);
    if (op == EI_OP_LSTM) {
        place(step, 3, B_BEFORE, h);
        place(step, OUT2, B_AFTER, h);
    }
    ei_instr *dense_step = n.code + 1;
    *dense_step = ei_bare_instr(EI_OP_DENSE);
    dense_step->dim[0] = 1;
    dense_step->dim[1] = hidden;
    dense_step->dim[2] = columns;
    place(dense_step, 0, B_ARENA, 0);
    place(dense_step, 1, B_WEIGHTS, cell * 4);
    place(dense_step, OUT0, B_Y, 0);
    return n;
}

/* The pool's memory, its states drawn. */
static ei_pool pool_of(const net *n, uint8_t *live)
{
    const int64_t bank = (n->state_floats * 4 + EI_ALIGN - 1) / EI_ALIGN * EI_ALIGN;
    ei_pool pool = {.weights = (char *)n->weights, .arena_stride = (n->arena_bytes + EI_ALIGN - 1) / EI_ALIGN * EI_ALIGN,
                    .bank = bank, .live = live, .x_stride = n->inputs * 4, .y_stride = n->columns * 4};
    pool.arenas = (char *)aligned(EI_POOL_ROWS * pool.arena_stride / 4);
    pool.states = (char *)filled(aligned(2 * SLOTS * bank / 4), 2 * SLOTS * bank / 4, 0.5f);
    return pool;
}

static char *bank_of(const ei_pool *pool, int64_t slot, int live)
{
    return pool->states + (2 * slot + live) * pool->bank;
}

static void check_net(int op, int linear, int64_t hidden, int64_t columns, size_t rows)
{
    uint8_t live[SLOTS];
    int64_t slots[MOST];
    const net n = make(op, linear, 3, hidden, columns);
    for (int k = 0; k < SLOTS; k++)
        live[k] = (uint8_t)(k % 3 == 0);
    for (int k = 0; k < MOST; k++)
        slots[k] = (k * 37 + 5) % SLOTS; /* 37 and 80 have no common factor */
    const ei_pool pool = pool_of(&n, live);
    float *x = filled(unaligned(MOST * 3), MOST * 3, 1.0f), *y = unaligned(MOST * columns);
    float *alone = unaligned(columns), *after = aligned(pool.bank / 4), *before = aligned(pool.bank / 4);
    char *bases[] = {pool.weights, NULL, (char *)aligned(pool.arena_stride / 4), NULL, (char *)after, NULL,
                     (char *)alone};
    size_t failed = 99, failed_row = 99;
    for (int step = 0; step < 2; step++) {
        const ei_status status = ei_run_pool(core, n.code, n.count, &pool, slots, rows, (char *)x, (char *)y,
                                             &failed_row, &failed);
        CHECK(status == EI_OK && failed == 99, "status %d", (int)status);
        for (size_t row = 0; row < rows; row++) {
            /* the bank that was live is the other one now */
            memcpy(before, bank_of(&pool, slots[row], 1 - live[slots[row]]), (size_t)pool.bank);
            bases[B_BEFORE] = (char *)before;
            bases[B_X] = (char *)(x + row * 3);
            core->run(n.code, n.count, bases, &failed);
            same_bits("an answer", y + row * (size_t)columns, alone, columns);
            same_bits("a state", bank_of(&pool, slots[row], live[slots[row]]), after,
                      op == EI_OP_LSTM ? n.state_floats : hidden);
        }
    }
    release();
}

static void test_rows(void)
{
    const int64_t sizes[] = {1, 7, 16, 17, 33, 64, 70, 130}, columns[] = {1, 5, 17, 40, 70};
    const size_t rows[] = {1, 2, 3, 4, 5, 32, 33, 71};
    const struct {
        int op, linear;
    } cells[] = {{EI_OP_LSTM, 0}, {EI_OP_GRU, 1}, {EI_OP_GRU, 0}, {EI_OP_RNN, 0}};
    for (size_t c = 0; c < sizeof cells / sizeof *cells; c++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
            check_net(cells[c].op, cells[c].linear, sizes[s], columns[(s + c) % 5], rows[(3 * s + c) % 8]);
    check_net(EI_OP_LSTM, 0, 64, 16, 71);
}

static void test_all_or_nothing(void)
{
    uint8_t live[SLOTS] = {0};
    int64_t slots[MOST];
    int32_t index[MOST] = {0};
    net n = make(EI_OP_LSTM, 0, 1, 16, 4);
    n.code[2] = ei_bare_instr(EI_OP_GATHER);
    const int64_t dims[] = {1, 2, 4, EI_I32};
    memcpy(n.code[2].dim, dims, sizeof dims);
    place(n.code + 2, 0, B_WEIGHTS, 0);
    place(n.code + 2, 1, B_X, 0);
    place(n.code + 2, OUT0, B_ARENA, 0);
    n.count = 3;
    const ei_pool pool = pool_of(&n, live);
    float *y = aligned(MOST * 4);
    for (int k = 0; k < MOST; k++)
        slots[k] = k;
    index[40] = 2; /* the table has two rows */
    size_t failed = 99, failed_row = 99;
    const ei_status status = ei_run_pool(core, n.code, n.count, &pool, slots, MOST, (char *)index, (char *)y,
                                         &failed_row, &failed);
    CHECK(status == EI_INDEX_OUT_OF_RANGE && failed == 2 && failed_row == 40, "status %d at %zu, row %zu", (int)status,
          failed, failed_row);
    for (int k = 0; k < SLOTS; k++)
        CHECK(live[k] == 0, "slot %d moved on", k);
    release();
}

const group pool_groups[] = {
    {"pool: rows have the bits of a stream alone", test_rows},
    {"pool: a row that fails leaves all states", test_all_or_nothing},
    {NULL, NULL},
};
