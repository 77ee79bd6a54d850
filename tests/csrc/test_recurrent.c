/* LSTM, GRU and RNN against their formulas, and the promises about bits and state. */
#include "harness.h"

static const int64_t hidden_sizes[] = {1, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 80};
static const int64_t input_sizes[] = {1, 7, 8, 9, 15, 16, 17, 31, 33};
#define HIDDEN_SIZES ((int)(sizeof hidden_sizes / sizeof hidden_sizes[0]))
#define INPUT_SIZES ((int)(sizeof input_sizes / sizeof input_sizes[0]))

typedef struct cell {
    int op;
    int64_t gates, steps, batch, inputs, hidden, directions, direction, reverse, linear;
    const float *w, *r, *wb, *rb; /* [gates*H, F], [gates*H, H], [gates*H], [gates*H], as ONNX orders the gates */
    const float *x, *h0, *c0;
    float *packed, *scratch, *y, *h, *c;
    int act[3];
} cell;

static cell new_cell(int op, int64_t steps, int64_t batch, int64_t inputs, int64_t hidden)
{
    cell n = {.op = op, .steps = steps, .batch = batch, .inputs = inputs, .hidden = hidden, .directions = 1};
    n.gates = op == EI_OP_LSTM ? 4 : op == EI_OP_GRU ? 3 : 1;
    n.act[0] = op == EI_OP_RNN ? EI_ACT_TANH : EI_ACT_SIGMOID;
    n.act[1] = n.act[2] = EI_ACT_TANH;
    /* A row of W and R sums to about 1, so that the cells neither saturate nor grow. */
    const float scale = 1.7f / sqrtf((float)(inputs + hidden));
    n.w = filled(unaligned(n.gates * hidden * inputs), n.gates * hidden * inputs, scale);
    /* Without gates nothing else keeps a difference of one rounding from growing with the steps. */
    const float carried = op == EI_OP_RNN ? 0.7f * scale : scale;
    n.r = filled(unaligned(n.gates * hidden * hidden), n.gates * hidden * hidden, carried);
    n.wb = filled(unaligned(n.gates * hidden), n.gates * hidden, 0.3f);
    n.rb = filled(unaligned(n.gates * hidden), n.gates * hidden, 0.3f);
    return n;
}

static void allocate_io(cell *n)
{
    const int64_t state = n->directions * n->batch * n->hidden;
    const int64_t padded = (n->hidden + core->lanes - 1) / core->lanes * core->lanes;
    n->x = filled(unaligned(n->steps * n->batch * n->inputs), n->steps * n->batch * n->inputs, 2);
    n->h0 = filled(unaligned(state), state, 1);
    n->c0 = filled(unaligned(state), state, 1);
    const int64_t rows = EI_SCRATCH_ROWS + (n->steps > 1 || n->batch > 1 ? 4 * EI_STEPS_AHEAD : 0);
    n->scratch = filled(aligned(rows * padded), rows * padded, 1e30f);
    n->y = filled(unaligned(n->steps * state), n->steps * state, 9);
    n->h = filled(unaligned(state), state, 9);
    n->c = filled(unaligned(state), state, 9);
}

static int64_t whole_vectors(int64_t n) { return (n + core->lanes - 1) / core->lanes * core->lanes; }

/* A section of the layout in core.h: gates [first, first + gates) in blocks of `units`. Bias b of a unit is bias[b].
 * Returns the floats it takes. */
static int64_t pack_section(const cell *n, float *to, int64_t units, int64_t first, int64_t gates, int64_t biases,
                            float (*bias)[4])
{
    const int64_t F = n->inputs, H = n->hidden;
    float *at = to;
    for (int64_t begin = 0; begin < H; begin += units) {
        const int64_t count = begin + units <= H ? units : H - begin;
        const int64_t stride = H < units ? whole_vectors(count) : count, width = whole_vectors(gates * stride);
        const int left_of_gru = biases == 4 && gates == 3 && count < units;
        for (int64_t u = 0; u < count; u++) {
            for (int64_t b = 0; b < (left_of_gru ? 3 : biases); b++)
                at[b * stride + u] = bias[begin + u][b];
            if (left_of_gru) {
                at[width + 2 * stride + u] = bias[begin + u][3];
                at[2 * width + 2 * stride + u] = 1;
            }
        }
        at += left_of_gru ? 3 * width : whole_vectors(biases * stride);
        for (int64_t k = 0; k < F + H; k++) {
            float *to_row = at + (k < F ? turn_of(k, F) : F + turn_of(k - F, H)) * width;
            for (int64_t g = 0; g < gates; g++)
                for (int64_t u = 0; u < count; u++) {
                    const int64_t row = (first + g) * H + begin + u;
                    to_row[g * stride + u] = k < F ? n->w[row * F + k] : n->r[row * H + k - F];
                }
        }
        at += (F + H) * width;
    }
    return at - to;
}

static void pack(cell *n)
{
    const int64_t L = core->lanes, H = n->hidden, most = (n->inputs + H + 3) * 4 * whole_vectors(H);
    float both[128][4], apart[128][4];
    n->packed = aligned(most);
    memset(n->packed, 0, (size_t)most * sizeof(float));
    for (int64_t u = 0; u < H; u++) {
        for (int64_t g = 0; g < n->gates; g++)
            both[u][g] = apart[u][g] = n->wb[g * H + u] + n->rb[g * H + u];
        if (n->op == EI_OP_GRU) {
            apart[u][2] = n->wb[2 * H + u];
            apart[u][3] = n->rb[2 * H + u];
        }
    }
    if (n->op == EI_OP_LSTM)
        pack_section(n, n->packed, L, 0, 4, 4, both);
    else if (n->op == EI_OP_RNN)
        pack_section(n, n->packed, 4 * L, 0, 1, 1, both);
    else if (n->linear)
        pack_section(n, n->packed, L, 0, 3, 4, apart);
    else {
        float candidate[128][4];
        for (int64_t u = 0; u < H; u++)
            candidate[u][0] = both[u][2];
        const int64_t size = pack_section(n, n->packed, 2 * L, 0, 2, 2, both);
        pack_section(n, n->packed + size, 4 * L, 2, 1, 1, candidate);
    }
}

static ei_instr cell_instruction(const cell *n)
{
    ei_instr instr = ei_bare_instr(n->op);
    const int64_t dim[] = {n->steps,      n->batch,     n->inputs,  n->hidden,
                           n->directions, n->direction, n->reverse, n->linear};
    memcpy(instr.dim, dim, sizeof dim);
    for (int k = 0; k < 3; k++) {
        instr.act[k] = n->act[k];
        instr.alpha[k] = 0.3f;
        instr.beta[k] = 0.6f;
    }
    set_operand(&instr, 0, n->x);
    set_operand(&instr, 1, n->packed);
    set_operand(&instr, 2, n->h0);
    if (n->op == EI_OP_LSTM)
        set_operand(&instr, 3, n->c0);
    set_operand(&instr, 4, n->scratch);
    set_operand(&instr, OUT0, n->y);
    set_operand(&instr, OUT1, n->h);
    if (n->op == EI_OP_LSTM)
        set_operand(&instr, OUT2, n->c);
    return instr;
}

static double act(const cell *n, int k, double x) { return reference_act(n->act[k], 0.3f, 0.6f, x); }

static double w_sum(const cell *n, int64_t row, const float *x)
{
    double s = n->wb[row];
    for (int64_t k = 0; k < n->inputs; k++)
        s += (double)n->w[row * n->inputs + k] * x[k];
    return s;
}

static double r_sum(const cell *n, int64_t row, const double *h)
{
    double s = n->rb[row];
    for (int64_t k = 0; k < n->hidden; k++)
        s += n->r[row * n->hidden + k] * h[k];
    return s;
}

#define MAX_HIDDEN 128

static void reference_step(const cell *n, const float *x, double *h, double *c)
{
    const int64_t H = n->hidden;
    double next[MAX_HIDDEN], reset_h[MAX_HIDDEN];
    if (n->op == EI_OP_GRU)
        for (int64_t u = 0; u < H; u++)
            reset_h[u] = act(n, 0, w_sum(n, H + u, x) + r_sum(n, H + u, h)) * h[u];
    for (int64_t u = 0; u < H; u++) {
        if (n->op == EI_OP_LSTM) {
            double gate[4];
            for (int64_t g = 0; g < 4; g++)
                gate[g] = w_sum(n, g * H + u, x) + r_sum(n, g * H + u, h);
            c[u] = act(n, 0, gate[2]) * c[u] + act(n, 0, gate[0]) * act(n, 1, gate[3]);
            next[u] = act(n, 0, gate[1]) * act(n, 2, c[u]);
        } else if (n->op == EI_OP_GRU) {
            const double z = act(n, 0, w_sum(n, u, x) + r_sum(n, u, h));
            const double r = act(n, 0, w_sum(n, H + u, x) + r_sum(n, H + u, h));
            const double from_h = n->linear ? r * r_sum(n, 2 * H + u, h) : r_sum(n, 2 * H + u, reset_h);
            next[u] = (1 - z) * act(n, 1, w_sum(n, 2 * H + u, x) + from_h) + z * h[u];
        } else {
            next[u] = act(n, 0, w_sum(n, u, x) + r_sum(n, u, h));
        }
    }
    memcpy(h, next, (size_t)H * sizeof *h);
}

static void check_cell(const cell *n, double tolerance)
{
    const int64_t H = n->hidden, state = n->directions * n->batch * H;
    float *y_before = unaligned(n->steps * state);
    if (n->y != NULL)
        memcpy(y_before, n->y, (size_t)(n->steps * state) * sizeof(float));
    const ei_instr instr = cell_instruction(n);
    CHECK(run_one(&instr) == EI_OK, "recurrent op failed");
    for (int64_t b = 0; b < n->batch; b++) {
        const int64_t row = (n->direction * n->batch + b) * H;
        double h[MAX_HIDDEN] = {0}, c[MAX_HIDDEN] = {0};
        for (int64_t u = 0; u < H; u++) {
            h[u] = n->h0 != NULL ? n->h0[row + u] : 0;
            c[u] = n->c0 != NULL ? n->c0[row + u] : 0;
        }
        for (int64_t step = 0; step < n->steps; step++) {
            const int64_t t = n->reverse ? n->steps - 1 - step : step;
            reference_step(n, n->x + (t * n->batch + b) * n->inputs, h, c);
            if (n->y != NULL)
                close_to("Y", n->y + t * state + row, h, H, tolerance);
        }
        if (n->h != NULL)
            close_to("Y_h", n->h + row, h, H, tolerance);
        if (n->c != NULL && n->op == EI_OP_LSTM)
            close_to("Y_c", n->c + row, c, H, tolerance);
    }
    if (n->y != NULL && n->directions == 2)
        for (int64_t t = 0; t < n->steps; t++) {
            const int64_t other = t * state + (1 - n->direction) * n->batch * H;
            same_bits("the other direction's half of Y", n->y + other, y_before + other, n->batch * H);
        }
}

static void check_cells(int op, int linear)
{
    for (int hk = 0; hk < HIDDEN_SIZES; hk++)
        for (int fk = 0; fk < INPUT_SIZES; fk++)
            for (int variant = 0; variant < 12; variant++) {
                const int64_t steps = (int64_t[]){0, 1, 2 * EI_STEPS_AHEAD + 5}[variant % 3];
                cell n = new_cell(op, steps, variant / 3 % 2 ? 3 : 1, input_sizes[fk], hidden_sizes[hk]);
                n.linear = linear;
                n.directions = variant / 6 ? 2 : 1;
                n.direction = n.reverse = variant / 6;
                allocate_io(&n);
                pack(&n);
                check_cell(&n, SUM_TOLERANCE);
                release();
            }
}

static void test_lstm(void) { check_cells(EI_OP_LSTM, 0); }
static void test_gru_linear_before_reset(void) { check_cells(EI_OP_GRU, 1); }
static void test_gru_reset_first(void) { check_cells(EI_OP_GRU, 0); }
static void test_rnn(void) { check_cells(EI_OP_RNN, 0); }

static const struct {
    int op, linear;
} cells[] = {{EI_OP_LSTM, 0}, {EI_OP_GRU, 1}, {EI_OP_GRU, 0}, {EI_OP_RNN, 0}};
#define CELLS ((int)(sizeof cells / sizeof cells[0]))

static void test_absent_operands(void)
{
    for (int k = 0; k < CELLS; k++)
        for (int absent = 0; absent < 32; absent++)
            for (int64_t steps = 0; steps <= 2; steps++) {
                cell n = new_cell(cells[k].op, steps, 2, 3, 17);
                n.linear = cells[k].linear;
                allocate_io(&n);
                pack(&n);
                n.h0 = absent & 1 ? NULL : n.h0;
                n.c0 = absent & 2 ? NULL : n.c0;
                n.y = absent & 4 ? NULL : n.y;
                n.h = absent & 8 ? NULL : n.h;
                n.c = absent & 16 ? NULL : n.c;
                check_cell(&n, SUM_TOLERANCE);
                release();
            }
}

static void test_other_activations(void)
{
    for (int k = 0; k < CELLS; k++)
        for (int first = EI_ACT_LINEAR; first <= EI_ACT_SOFTPLUS; first++) {
            cell n = new_cell(cells[k].op, 3, 1, 3, 17);
            n.linear = cells[k].linear;
            n.act[0] = first;
            n.act[1] = EI_ACT_LINEAR + (first + 5) % 12;
            n.act[2] = EI_ACT_LINEAR + (first + 3) % 12;
            allocate_io(&n);
            pack(&n);
            check_cell(&n, SUM_TOLERANCE);
            release();
        }
}

/* What docs/operators.md promises. tests/runtime/test_accuracy.py has more sizes, but only what this machine can run;
 * this runs under an emulator too. */
#define LONG_RUN_TOLERANCE 2e-6
#define LONG_RUN 1000

static void test_a_thousand_steps(void)
{
    for (int k = 0; k < CELLS; k++) {
        cell n = new_cell(cells[k].op, LONG_RUN, 1, 17, MAX_HIDDEN);
        n.linear = cells[k].linear;
        allocate_io(&n);
        pack(&n);
        check_cell(&n, LONG_RUN_TOLERANCE);
        release();
    }
}

/* A cell of alike units gives alike outputs, whichever lane or tail a unit is in. */
static void test_units_are_alike(void)
{
    for (int k = 0; k < CELLS; k++) {
        const int64_t H = 39, F = 5;
        cell n = new_cell(cells[k].op, 3, 1, F, H);
        n.linear = cells[k].linear;
        float *w = filled(unaligned(n.gates * H * F), n.gates * H * F, 1), *r = unaligned(n.gates * H * H);
        float *b = unaligned(n.gates * H);
        for (int64_t row = 0; row < n.gates * H; row++) {
            const int64_t first = row / H * H;
            b[row] = n.wb[first];
            memcpy(w + row * F, n.w + first * F, F * sizeof(float));
            memcpy(r + row * H, n.r + first * H, (size_t)H * sizeof(float));
        }
        n.w = w, n.r = r, n.wb = n.rb = b;
        allocate_io(&n);
        pack(&n);
        n.h0 = n.c0 = NULL;
        const ei_instr instr = cell_instruction(&n);
        run_one(&instr);
        for (int64_t i = 0; i < n.steps * H; i++)
            same_bits("units alike", n.y + i, n.y + i / H * H, 1);
        release();
    }
}

static void test_batch_rows_are_alike(void)
{
    for (int k = 0; k < CELLS; k++) {
        const int64_t T = 4, B = 3, F = 5, H = 33;
        cell n = new_cell(cells[k].op, T, B, F, H);
        n.linear = cells[k].linear;
        allocate_io(&n);
        pack(&n);
        const ei_instr together = cell_instruction(&n);
        run_one(&together);
        for (int64_t b = 0; b < B; b++) {
            float *x = unaligned(T * F);
            for (int64_t t = 0; t < T; t++)
                memcpy(x + t * F, n.x + (t * B + b) * F, F * sizeof(float));
            cell one = n;
            one.batch = 1;
            one.x = x, one.h0 = n.h0 + b * H, one.c0 = n.c0 + b * H;
            one.y = unaligned(T * H), one.h = unaligned(H), one.c = unaligned(H);
            const ei_instr alone = cell_instruction(&one);
            run_one(&alone);
            for (int64_t t = 0; t < T; t++)
                same_bits("a batch row alone or among others", one.y + t * H, n.y + (t * B + b) * H, H);
            same_bits("Y_h", one.h, n.h + b * H, H);
            if (n.op == EI_OP_LSTM)
                same_bits("Y_c", one.c, n.c + b * H, H);
        }
        release();
    }
}

/* Steps through ei_run_steps with the state banks swapped, against the whole sequence in one instruction. */
static void test_steps_equal_the_sequence(void)
{
    for (int k = 0; k < CELLS; k++)
        for (int hk = 0; hk < HIDDEN_SIZES; hk++) {
            const int64_t T = 23, F = 6, H = hidden_sizes[hk];
            cell n = new_cell(cells[k].op, T, 1, F, H);
            n.linear = cells[k].linear;
            allocate_io(&n);
            pack(&n);
            const ei_instr whole = cell_instruction(&n);
            run_one(&whole);

            enum { STATE_IN, STATE_OUT, X, Y, WEIGHTS, SCRATCH };
            float *bank_a = aligned(2 * H), *bank_b = filled(aligned(2 * H), 2 * H, 9), *y = unaligned(T * H);
            memcpy(bank_a, n.h0, (size_t)H * sizeof(float));
            memcpy(bank_a + H, n.c0, (size_t)H * sizeof(float));
            ei_instr step = whole;
            step.dim[0] = 1;
            const int32_t in_base[EI_INS] = {X,       WEIGHTS,   STATE_IN, n.op == EI_OP_LSTM ? STATE_IN : EI_NO_BASE,
                                            SCRATCH, EI_NO_BASE, EI_NO_BASE};
            const int32_t out_base[] = {Y, STATE_OUT, n.op == EI_OP_LSTM ? STATE_OUT : EI_NO_BASE};
            memcpy(step.in_base, in_base, sizeof in_base);
            memcpy(step.out_base, out_base, sizeof out_base);
            memset(step.in, 0, sizeof step.in);
            memset(step.out, 0, sizeof step.out);
            step.in[3] = step.out[2] = H * 4;
            union {
                const float *from;
                char *to;
            } x = {n.x};
            char *own[] = {(char *)bank_a, (char *)bank_b, x.to, (char *)y, (char *)n.packed, (char *)n.scratch};
            const ei_step layout = {STATE_IN, STATE_OUT, X, Y, F * 4, H * 4};
            size_t failed_step = 77, failed = 88;
            const ei_status status = ei_run_steps(core, &step, 1, own, &layout, (size_t)T, &failed_step, &failed);
            CHECK(status == EI_OK && failed_step == 77 && failed == 88, "status %d", (int)status);
            same_bits("Y by steps", y, n.y, T * H);
            CHECK(own[STATE_IN] == (char *)bank_b && own[STATE_OUT] == (char *)bank_a,
                  "an odd number of steps swaps");
            CHECK(own[X] == x.to + T * F * 4 && own[Y] == (char *)(y + T * H), "x and y were not advanced");
            same_bits("h by steps", own[STATE_IN], n.h, H);
            if (n.op == EI_OP_LSTM)
                same_bits("c by steps", own[STATE_IN] + H * 4, n.c, H);
            release();
        }
}

/* Gather a row by token, then RNN: the third token is out of range. */
static void test_a_failing_step_keeps_the_state(void)
{
    const int64_t F = 4, H = 9, rows = 5;
    cell n = new_cell(EI_OP_RNN, 1, 1, F, H);
    allocate_io(&n);
    pack(&n);
    float *table = filled(unaligned(rows * F), rows * F, 1), *arena = aligned(F),
          *y = filled(unaligned(4 * H), 4 * H, 9);
    float *bank_a = filled(aligned(H), H, 1), *bank_b = aligned(H), *twin_a = aligned(H), *twin_b = aligned(H);
    memcpy(twin_a, bank_a, (size_t)H * sizeof(float));
    int32_t *tokens = memory_block(4 * sizeof(int32_t), 4);
    memcpy(tokens, (int32_t[]){1, -1, 5, 2}, 4 * sizeof(int32_t));

    enum { STATE_IN, STATE_OUT, X, Y, TABLE, ARENA, WEIGHTS, SCRATCH };
    ei_instr code[2] = {ei_bare_instr(EI_OP_GATHER), cell_instruction(&n)};
    code[0].dim[0] = 1;
    code[0].dim[1] = rows;
    code[0].dim[2] = F * 4;
    code[0].dim[3] = EI_I32;
    code[0].in_base[0] = TABLE;
    code[0].in_base[1] = X;
    code[0].out_base[0] = ARENA;
    memset(code[1].in, 0, sizeof code[1].in);
    memset(code[1].out, 0, sizeof code[1].out);
    memcpy(code[1].in_base, (int32_t[EI_INS]){ARENA, WEIGHTS, STATE_IN, EI_NO_BASE, SCRATCH, EI_NO_BASE,
           EI_NO_BASE}, sizeof code[1].in_base);
    memcpy(code[1].out_base, (int32_t[]){Y, STATE_OUT, EI_NO_BASE}, sizeof code[1].out_base);
    char *own[] = {(char *)bank_a, (char *)bank_b, (char *)tokens,   (char *)y,
                   (char *)table,  (char *)arena,  (char *)n.packed, (char *)n.scratch};
    const ei_step layout = {STATE_IN, STATE_OUT, X, Y, 4, H * 4};
    size_t failed_step = 77, failed = 88;
    ei_status status = ei_run_steps(core, code, 2, own, &layout, 4, &failed_step, &failed);
    CHECK(status == EI_INDEX_OUT_OF_RANGE && failed_step == 2 && failed == 0, "status %d, step %zu, instruction %zu",
          (int)status, failed_step, failed);
    CHECK(own[STATE_IN] == (char *)bank_a, "two steps succeeded, so the first bank is live again");
    CHECK(own[X] == (char *)(tokens + 2) && own[Y] == (char *)(y + 2 * H), "x and y stand at the step that failed");

    char *twin[] = {(char *)twin_a, (char *)twin_b, (char *)tokens,   (char *)y,
                    (char *)table,  (char *)arena,  (char *)n.packed, (char *)n.scratch};
    status = ei_run_steps(core, code, 2, twin, &layout, 2, &failed_step, &failed);
    CHECK(status == EI_OK, "status %d", (int)status);
    same_bits("the live state after a failing step", bank_a, twin_a, H);

    code[1].op = 99;
    twin[X] = (char *)tokens;
    status = ei_run_steps(core, code, 2, twin, &layout, 1, &failed_step, &failed);
    CHECK(status == EI_BAD_PROGRAM && failed_step == 0 && failed == 1, "status %d", (int)status);

    const ei_step stateless = {EI_NO_BASE, EI_NO_BASE, X, EI_NO_BASE, 0, 0};
    status = ei_run_steps(core, code, 1, twin, &stateless, 3, &failed_step, &failed);
    CHECK(status == EI_OK && twin[X] == (char *)tokens, "a program without state, at one place");
    release();
}

/* Tokens that look up rows of X_SUMS, against the same x summed step by step and as a sequence. */
static void test_gate_rows(void)
{
    for (int k = 0; k < CELLS; k++)
        for (int hk = 0; hk < HIDDEN_SIZES; hk++)
            for (int wide = 0; wide < 2; wide++) {
                const int64_t T = 5, B = 2, F = 6, H = hidden_sizes[hk], rows = 7;
                cell n = new_cell(cells[k].op, T, B, F, H);
                n.linear = cells[k].linear;
                n.reverse = wide;
                allocate_io(&n);
                pack(&n);
                const float *table = filled(unaligned(rows * F), rows * F, 2);
                float *x = unaligned(T * B * F), *gates = aligned(rows * 4 * whole_vectors(H));
                int32_t *narrow = memory_block((size_t)(T * B) * 4, 4);
                int64_t *long_tokens = memory_block((size_t)(T * B) * 8, 8);
                for (int64_t at = 0; at < T * B; at++) { /* stored by batch row, as [B, T] */
                    const int64_t token = (at * 5 + hk) % rows, t = at % T, b = at / T;
                    narrow[at] = (int32_t)(long_tokens[at] = at % 3 ? token : token - rows);
                    memcpy(x + (t * B + b) * F, table + token * F, (size_t)F * sizeof(float));
                }
                n.x = x;
                ei_instr sums = ei_bare_instr(EI_OP_X_SUMS);
                memcpy(sums.dim, (int64_t[]){n.op, rows, F, H, n.linear}, 5 * sizeof(int64_t));
                set_operand(&sums, 0, table);
                set_operand(&sums, 1, n.packed);
                set_operand(&sums, OUT0, gates);
                CHECK(run_one(&sums) == EI_OK, "X_SUMS failed");
                ei_instr whole = cell_instruction(&n);
                run_one(&whole);
                cell looked_up = n;
                looked_up.y = unaligned(T * B * H), looked_up.h = unaligned(B * H), looked_up.c = unaligned(B * H);
                ei_instr instr = cell_instruction(&looked_up);
                memcpy(instr.dim + 10, (int64_t[]){rows, wide ? EI_I64 : EI_I32, 1, T}, 4 * sizeof(int64_t));
                set_operand(&instr, 0, wide ? (const void *)long_tokens : narrow);
                set_operand(&instr, 5, gates);
                CHECK(run_one(&instr) == EI_OK, "gate rows failed");
                same_bits("Y of gate rows", looked_up.y, n.y, T * B * H);
                same_bits("Y_h of gate rows", looked_up.h, n.h, B * H);
                if (n.op == EI_OP_LSTM)
                    same_bits("Y_c of gate rows", looked_up.c, n.c, B * H);

                cell one = n;
                one.steps = one.batch = 1;
                one.x = x + (T - 1) * B * F; /* the last time of row 0 */
                one.y = unaligned(H), one.h = unaligned(H), one.c = unaligned(H);
                instr = cell_instruction(&one);
                run_one(&instr);
                looked_up = one;
                looked_up.y = unaligned(H), looked_up.h = unaligned(H), looked_up.c = unaligned(H);
                instr = cell_instruction(&looked_up);
                memcpy(instr.dim + 10, (int64_t[]){rows, EI_I32, 1, 1}, 4 * sizeof(int64_t));
                set_operand(&instr, 0, narrow + T - 1);
                set_operand(&instr, 5, gates);
                CHECK(run_one(&instr) == EI_OK, "a step by gate rows failed");
                same_bits("a step by gate rows", looked_up.y, one.y, H);
                for (int bad = 0; bad < 4; bad++) {
                    instr.dim[0] = bad / 2 + 1;
                    const int32_t outside[] = {bad % 2 ? -(int32_t)rows - 1 : (int32_t)rows, 0};
                    set_operand(&instr, 0, outside);
                    CHECK(run_one(&instr) == EI_INDEX_OUT_OF_RANGE, "a token outside the table was taken");
                }
                release();
            }
}

const group recurrent_groups[] = {
    {"LSTM", test_lstm},
    {"GRU, linear before reset", test_gru_linear_before_reset},
    {"GRU, reset first", test_gru_reset_first},
    {"RNN", test_rnn},
    {"recurrent nodes with absent operands", test_absent_operands},
    {"recurrent nodes with other activations", test_other_activations},
    {"a thousand steps stay near double precision", test_a_thousand_steps},
    {"units do not depend on their lane", test_units_are_alike},
    {"batch rows do not depend on each other", test_batch_rows_are_alike},
    {"steps equal the sequence bit for bit", test_steps_equal_the_sequence},
    {"gate rows equal the sums bit for bit", test_gate_rows},
    {"a failing step keeps the state", test_a_failing_step_keeps_the_state},
    {NULL, NULL},
};
