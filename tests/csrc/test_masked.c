/* Recurrent ops of whose steps only some count, against the same op over those steps alone, bit for bit. What that gives
 * is checked elsewhere, so the weights may be any numbers. */
#include "harness.h"

enum { BATCH = 3, INPUTS = 5, MOST_STEPS = 2 * EI_STEPS_AHEAD + 7 };

typedef struct kind {
    const char *name;
    int op;
    int64_t linear, weights;
} kind;

static const kind kinds[] = {
    {"LSTM", EI_OP_LSTM, 0, 0},
    {"GRU, linear before reset", EI_OP_GRU, 1, 0},
    {"GRU, reset first", EI_OP_GRU, 0, 0},
    {"RNN", EI_OP_RNN, 0, 0},
    {"LSTM, int8", EI_OP_LSTM_SMALL, 0, EI_WEIGHTS_I8},
    {"LSTM, int8 fast", EI_OP_LSTM_SMALL, 0, EI_WEIGHTS_I8_FAST},
    {"GRU, int8", EI_OP_GRU_SMALL, 1, EI_WEIGHTS_I8},
    {"GRU, reset first, int8 fast", EI_OP_GRU_SMALL, 0, EI_WEIGHTS_I8_FAST},
    {"RNN, int8", EI_OP_RNN_SMALL, 0, EI_WEIGHTS_I8},
};
#define KINDS ((int)(sizeof kinds / sizeof kinds[0]))

static int has_c(const kind *k) { return k->op == EI_OP_LSTM || k->op == EI_OP_LSTM_SMALL; }

typedef struct run {
    const kind *kind;
    int64_t steps, batch, hidden, directions, direction, reverse;
    const float *x, *weights, *h0, *c0;
    float *scratch, *y, *h, *c;
} run;

static ei_instr plain(const run *n)
{
    ei_instr instr = ei_bare_instr(n->kind->op);
    const int64_t dim[] = {n->steps,      n->batch,   INPUTS,          n->hidden,        n->directions,
                           n->direction,  n->reverse, n->kind->linear, n->kind->weights, 0};
    memcpy(instr.dim, dim, sizeof dim);
    instr.act[0] = n->kind->op == EI_OP_RNN || n->kind->op == EI_OP_RNN_SMALL ? EI_ACT_TANH : EI_ACT_SIGMOID;
    instr.act[1] = instr.act[2] = EI_ACT_TANH;
    set_operand(&instr, 0, n->x);
    set_operand(&instr, 1, n->weights);
    set_operand(&instr, 2, n->h0);
    set_operand(&instr, 4, n->scratch);
    set_operand(&instr, OUT0, n->y);
    set_operand(&instr, OUT1, n->h);
    if (has_c(n->kind)) {
        set_operand(&instr, 3, n->c0);
        set_operand(&instr, OUT2, n->c);
    }
    return instr;
}

/* A mask of [T, B], or with `rows` of [B, T]. */
static ei_instr masked(const run *n, const uint8_t *mask, int rows, int zero_output, int zero_before)
{
    ei_instr instr = plain(n);
    instr.op = EI_OP_MASKED;
    const int64_t dim[] = {n->kind->op, EI_STEPS_BY_MASK, rows ? 1 : n->batch, rows ? n->steps : 1,
                           zero_output, zero_before};
    memcpy(instr.dim + 14, dim, sizeof dim);
    set_operand(&instr, 6, mask);
    return instr;
}

static ei_instr by_length(const run *n, const int32_t *lengths)
{
    ei_instr instr = plain(n);
    instr.op = EI_OP_MASKED;
    instr.dim[14] = n->kind->op;
    instr.dim[15] = EI_STEPS_BY_LENGTH;
    set_operand(&instr, 6, lengths);
    return instr;
}

static run new_run(const kind *k, int64_t steps, int64_t batch, int64_t hidden, int64_t directions, int64_t reverse)
{
    run n = {.kind = k, .steps = steps, .batch = batch, .hidden = hidden, .directions = directions};
    n.direction = directions - 1;
    n.reverse = reverse;
    const int64_t padded = (hidden + core->lanes - 1) / core->lanes * core->lanes;
    const int64_t weights = 8 * (INPUTS + hidden + 5) * (padded + 4 * core->lanes), state = directions * batch * hidden;
    n.weights = filled(aligned(weights), weights, 0.1f);
    n.x = filled(unaligned(steps * batch * INPUTS), steps * batch * INPUTS, 2);
    n.scratch = filled(aligned((EI_SCRATCH_ROWS + 4 * EI_STEPS_AHEAD) * padded),
                       (EI_SCRATCH_ROWS + 4 * EI_STEPS_AHEAD) * padded, 9);
    n.h0 = filled(unaligned(state), state, 0.9f);
    n.c0 = filled(unaligned(state), state, 0.9f);
    n.y = filled(unaligned(steps * state), steps * state, 9);
    n.h = filled(unaligned(state), state, 9);
    n.c = filled(unaligned(state), state, 9);
    return n;
}

/* One row alone, over the steps that count in the order in which they are walked; gives how many those are. */
static int64_t alone(const run *n, int64_t b, const int *counts, run *one, int64_t *times)
{
    static float x[MOST_STEPS * INPUTS], y[MOST_STEPS * 64], h[64], c[64];
    const int64_t state = (n->direction * n->batch + b) * n->hidden;
    int64_t many = 0;
    for (int64_t k = 0; k < n->steps; k++) {
        const int64_t t = n->reverse ? n->steps - 1 - k : k;
        if (!counts[t])
            continue;
        memcpy(x + many * INPUTS, n->x + (t * n->batch + b) * INPUTS, INPUTS * sizeof(float));
        times[many++] = t;
    }
    *one = *n;
    one->steps = many;
    one->batch = one->directions = 1;
    one->direction = one->reverse = 0;
    one->x = x, one->y = y, one->h = h, one->c = c;
    one->h0 = n->h0 ? n->h0 + state : NULL;
    one->c0 = n->c0 ? n->c0 + state : NULL;
    const ei_instr instr = plain(one);
    CHECK(run_one(&instr) == EI_OK, "the steps alone failed");
    return many;
}

typedef enum pattern { ALL, NONE, FRONT, BACK, HOLES, EVERY_OTHER, PATTERNS } pattern;

static int counts_at(pattern p, int64_t t, int64_t b, int64_t steps)
{
    switch (p) {
    case ALL: return 1;
    case NONE: return 0;
    case FRONT: return t < steps / 2 + b;
    case BACK: return t >= steps / 2 - b;
    case HOLES: return uniform() > -0.2f;
    default: return (t + b) % 2 == 0;
    }
}

static void check_row(const run *n, int64_t b, const int *counts, int zero_output, int zero_before, int zero_empty)
{
    const float zeros[64] = {0};
    int64_t times[MOST_STEPS];
    run one;
    const int64_t H = n->hidden, many = alone(n, b, counts, &one, times);
    const int64_t state = (n->direction * n->batch + b) * H, all = n->directions * n->batch * H;
    const float *start = one.h0 ? one.h0 : zeros, *held = zero_before ? zeros : start;
    for (int64_t k = 0, next = 0; n->y != NULL && k < n->steps; k++) {
        const int64_t t = n->reverse ? n->steps - 1 - k : k;
        if (counts[t])
            held = one.y + next++ * H;
        same_bits("Y", n->y + t * all + state, counts[t] || !zero_output ? held : zeros, H);
    }
    if (n->h != NULL)
        same_bits("Y_h", n->h + state, many == 0 && zero_empty ? zeros : one.h, H);
    if (n->c != NULL && has_c(n->kind))
        same_bits("Y_c", n->c + state, many == 0 && zero_empty ? zeros : one.c, H);
}

static const int64_t hidden_sizes[] = {1, 9, 17, 40};
#define HIDDEN_SIZES ((int)(sizeof hidden_sizes / sizeof hidden_sizes[0]))

static void leave_out(run *n, int which)
{
    n->h0 = which & 1 ? NULL : n->h0;
    n->c0 = which & 2 ? NULL : n->c0;
    n->y = which & 4 ? NULL : n->y;
    n->h = which & 8 ? NULL : n->h;
    n->c = which & 16 ? NULL : n->c;
}

static void test_masks(void)
{
    for (int k = 0; k < KINDS; k++)
        for (int p = 0; p < PATTERNS; p++)
            for (int variant = 0; variant < 48; variant++) {
                const int64_t steps = (int64_t[]){0, 1, 6, MOST_STEPS}[variant % 4], batch = variant / 4 % 3 ? BATCH : 1;
                const int zero_output = variant / 12 % 2, zero_before = variant / 24, rows = variant % 5 == 0;
                run n = new_run(kinds + k, steps, batch, hidden_sizes[variant % HIDDEN_SIZES], 1 + variant % 3 / 2,
                                variant % 7 / 4);
                leave_out(&n, variant % 32 < 12 ? 0 : variant % 32);
                uint8_t *mask = memory_block((size_t)(steps * batch), 1);
                int counts[BATCH][MOST_STEPS];
                for (int64_t b = 0; b < batch; b++)
                    for (int64_t t = 0; t < steps; t++) {
                        counts[b][t] = counts_at((pattern)p, t, b, steps);
                        mask[rows ? b * steps + t : t * batch + b] = (uint8_t)(counts[b][t] ? 1 + variant : 0);
                    }
                const ei_instr instr = masked(&n, mask, rows, zero_output, zero_before);
                CHECK(run_one(&instr) == EI_OK, "%s failed", n.kind->name);
                for (int64_t b = 0; b < batch; b++)
                    check_row(&n, b, counts[b], zero_output, zero_before, 0);
                release();
            }
}

static void test_lengths(void)
{
    for (int k = 0; k < KINDS; k++)
        for (int variant = 0; variant < 48; variant++) {
            const int64_t steps = (int64_t[]){0, 1, 6, MOST_STEPS}[variant % 4], batch = variant / 4 % 3 ? BATCH : 1;
            run n = new_run(kinds + k, steps, batch, hidden_sizes[variant % HIDDEN_SIZES], 1 + variant % 3 / 2,
                            variant % 7 / 4);
            leave_out(&n, variant % 32 < 12 ? 0 : variant % 32);
            int32_t *lengths = memory_block((size_t)batch * 4, 4);
            int counts[BATCH][MOST_STEPS];
            for (int64_t b = 0; b < batch; b++) {
                lengths[b] = (int32_t)((variant * 13 + b * 5) % (steps + 1));
                for (int64_t t = 0; t < steps; t++)
                    counts[b][t] = t < lengths[b];
            }
            const ei_instr instr = by_length(&n, lengths);
            CHECK(run_one(&instr) == EI_OK, "%s failed", n.kind->name);
            for (int64_t b = 0; b < batch; b++)
                check_row(&n, b, counts[b], 1, 1, 1);
            release();
        }
}

static void test_wrong_lengths(void)
{
    for (int k = 0; k < KINDS; k++)
        for (int64_t steps = 1; steps <= 3; steps++)
            for (int bad = 0; bad < 3; bad++) {
                run n = new_run(kinds + k, steps, BATCH, 9, 1, 0);
                float *y = unaligned(steps * BATCH * 9);
                memcpy(y, n.y, (size_t)(steps * BATCH * 9) * 4);
                const int32_t wrong[] = {-1, (int32_t)steps + 1, INT32_MIN};
                int32_t *lengths = memory_block(BATCH * 4, 0);
                memcpy(lengths, (int32_t[]){1, 0, wrong[bad]}, BATCH * 4);
                ei_instr instr = by_length(&n, lengths);
                CHECK(run_one(&instr) == EI_LENGTH_OUT_OF_RANGE, "a length of %d was taken", (int)wrong[bad]);
                same_bits("Y of a run that is refused", n.y, y, steps * BATCH * 9);
                instr.dim[15] = 2;
                CHECK(run_one(&instr) == EI_BAD_PROGRAM, "neither lengths nor a mask");
                lengths[2] = 1;
                instr.dim[15] = EI_STEPS_BY_LENGTH;
                instr.dim[14] = EI_OP_DENSE;
                CHECK(run_one(&instr) == EI_BAD_PROGRAM, "a masked op that is no cell");
                release();
            }
}

/* A token outside its table is refused whether its step counts or not, as the lookup itself would. */
static void test_tokens(void)
{
    const int64_t rows = 4, H = 9;
    for (int64_t steps = 1; steps <= 2; steps++)
        for (int bad = 0; bad < 2; bad++) {
            run n = new_run(kinds, steps, 1, H, 1, 0);
            const float *gates = filled(aligned(rows * 8 * 4 * 16), rows * 8 * 4 * 16, 0.5f);
            const int32_t tokens[] = {bad ? (int32_t)rows : 1, 2};
            const uint8_t mask[] = {0, 1};
            ei_instr instr = masked(&n, mask, 0, 0, 0);
            memcpy(instr.dim + 10, (int64_t[]){rows, EI_I32, 1, 1}, 4 * sizeof(int64_t));
            set_operand(&instr, 0, tokens);
            set_operand(&instr, 5, gates);
            CHECK(run_one(&instr) == (bad ? EI_INDEX_OUT_OF_RANGE : EI_OK), "a token of a step that does not count");
            if (!bad)
                same_bits("Y of a step that does not count", n.y, n.h0, H);
            release();
        }
}

enum { B_WEIGHTS, B_CONSTANTS, B_ARENA, B_BEFORE, B_AFTER, B_X, B_Y };

/* Rows of a pool, some of which do not count this time, against each alone. x of a row: INPUTS floats, then its mask. */
static void test_rows(void)
{
    enum { SLOTS = 71 };
    for (int k = 0; k < KINDS; k++)
        for (int hk = 0; hk < HIDDEN_SIZES; hk++) {
            const int64_t H = hidden_sizes[hk], bank = (2 * H * 4 + EI_ALIGN - 1) / EI_ALIGN * EI_ALIGN;
            const int64_t x_stride = (INPUTS + 1) * 4, padded = (H + core->lanes - 1) / core->lanes * core->lanes;
            const int64_t arena = (EI_SCRATCH_ROWS + 1) * padded * 4 + EI_ALIGN;
            run n = new_run(kinds + k, 1, 1, H, 1, 0);
            uint8_t live[SLOTS] = {0};
            int64_t slots[SLOTS];
            char *x = (char *)filled(aligned(SLOTS * x_stride / 4), SLOTS * x_stride / 4, 1);
            for (int s = 0; s < SLOTS; s++) {
                slots[s] = SLOTS - 1 - s;
                x[s * x_stride + INPUTS * 4] = s % 3 != 0;
            }
            ei_instr instr = masked(&n, (const uint8_t *)x, 0, 0, 0);
            memset(instr.in_base, 0xff, sizeof instr.in_base);
            memset(instr.out_base, 0xff, sizeof instr.out_base);
            const int32_t ins[] = {B_X, B_WEIGHTS, B_BEFORE, has_c(n.kind) ? B_BEFORE : EI_NO_BASE, B_ARENA};
            memcpy(instr.in_base, ins, sizeof ins);
            instr.in_base[6] = B_X;
            instr.in[3] = instr.out[2] = H * 4;
            instr.in[6] = INPUTS * 4;
            const int32_t outs[] = {B_Y, B_AFTER, has_c(n.kind) ? B_AFTER : EI_NO_BASE};
            memcpy(instr.out_base, outs, sizeof outs);
            ei_pool pool = {.weights = (char *)(uintptr_t)n.weights, .arena_stride = (arena / EI_ALIGN + 1) * EI_ALIGN,
                            .bank = bank, .live = live, .x_stride = x_stride, .y_stride = H * 4};
            pool.arenas = (char *)aligned(EI_POOL_ROWS * pool.arena_stride / 4);
            pool.states = (char *)filled(aligned(2 * SLOTS * bank / 4), 2 * SLOTS * bank / 4, 0.5f);
            float *y = unaligned(SLOTS * H), *alone_y = unaligned(H), *after = aligned(bank / 4);
            size_t failed = 99, failed_row = 99;
            CHECK(ei_run_pool(core, &instr, 1, &pool, slots, SLOTS, x, (char *)y, &failed_row, &failed) == EI_OK,
                  "%s failed", n.kind->name);
            for (int s = 0; s < SLOTS; s++) {
                char *const banks = pool.states + 2 * slots[s] * bank;
                char *bases[] = {pool.weights, NULL, pool.arenas, banks, (char *)after, x + s * x_stride,
                                 (char *)alone_y};
                core->run(&instr, 1, bases, &failed);
                same_bits("a row of a pool", y + s * H, alone_y, H);
                same_bits("its state", banks + bank, after, has_c(n.kind) ? 2 * H : H);
                if (s % 3 == 0)
                    same_bits("the state of a row that does not count", banks + bank, banks,
                              has_c(n.kind) ? 2 * H : H);
            }
            release();
        }
}

const group masked_groups[] = {
    {"masks: what counts has the bits that it has alone", test_masks},
    {"lengths: what counts has the bits that it has alone", test_lengths},
    {"lengths outside the sequence are refused", test_wrong_lengths},
    {"masks: tokens outside the table are refused", test_tokens},
    {"masks: rows of a pool have the bits of a stream alone", test_rows},
    {NULL, NULL},
};
