/* LSTM, GRU, RNN and Dense with small weights against their formulas, in each arithmetic of small_body.h. */
#include "harness.h"

static const int64_t hidden_sizes[] = {1, 7, 8, 9, 15, 16, 17, 31, 33, 50, 64};
#define HIDDEN_SIZES ((int)(sizeof hidden_sizes / sizeof hidden_sizes[0]))
#define MAX_HIDDEN 64
#define MAX_ROWS (4 * MAX_HIDDEN)

/* W [rows, F] and R [rows, H] as stored: halves or bytes; what they stand for is value * scale. */
typedef struct cell {
    int op, kind, vnni;
    int64_t gates, inputs, hidden, linear;
    uint16_t *w, *r; /* halves, or bytes in their lowest bits */
    float w_scale[MAX_ROWS], r_scale[MAX_ROWS], wb[MAX_ROWS], rb[MAX_ROWS];
    char *packed;
} cell;

/* A half with six bits of fraction, of both signs, normal and subnormal. */
static uint16_t some_half(void)
{
    const uint16_t sign = uniform() < 0 ? 0x8000 : 0;
    const uint16_t exponent = (uint16_t)((uint16_t)(fabsf(uniform()) * 13.0f) << 10);
    return (uint16_t)(sign | exponent | ((uint16_t)(fabsf(uniform()) * 63.0f) << 4));
}

static double half_value(uint16_t half)
{
    const int exponent = half >> 10 & 31;
    const double fraction = (half & 1023) / 1024.0;
    const double magnitude = exponent ? ldexp(1 + fraction, exponent - 15) : ldexp(fraction, -14);
    return half & 0x8000 ? -magnitude : magnitude;
}

static int8_t some_byte(void) { return (int8_t)(uniform() * 127.9f); }

static double weight(const cell *n, const uint16_t *values, const float *scale, int64_t row, int64_t column,
                     int64_t k)
{
    const uint16_t v = values[row * column + k];
    return n->kind == EI_WEIGHTS_F16 ? half_value(v) : (double)(int8_t)(uint8_t)v * scale[row];
}

static cell new_cell(int op, int kind, int64_t inputs, int64_t hidden, int64_t linear)
{
    cell n = {.op = op, .kind = kind, .inputs = inputs, .hidden = hidden, .linear = linear};
    n.gates = op == EI_OP_LSTM_SMALL ? 4 : op == EI_OP_GRU_SMALL ? 3 : 1;
    const int64_t rows = n.gates * hidden;
    n.w = memory_block((size_t)(rows * inputs) * 2, 0);
    n.r = memory_block((size_t)(rows * hidden) * 2, 0);
    for (int64_t i = 0; i < rows * inputs; i++)
        n.w[i] = kind == EI_WEIGHTS_F16 ? some_half() : (uint8_t)some_byte();
    for (int64_t i = 0; i < rows * hidden; i++)
        n.r[i] = kind == EI_WEIGHTS_F16 ? some_half() : (uint8_t)some_byte();
    for (int64_t row = 0; row < rows; row++) {
        n.w_scale[row] = (1.1f + uniform()) * 0.002f;
        n.r_scale[row] = (1.1f + uniform()) * 0.002f;
        n.wb[row] = 0.3f * uniform();
        n.rb[row] = 0.3f * uniform();
    }
    return n;
}

static char *whole_vectors(char *begin, char *end)
{
    const int64_t vector = 4 * core->lanes;
    return begin + (end - begin + vector - 1) / vector * vector;
}

static char *put(char *at, const void *data, size_t size)
{
    memcpy(at, data, size);
    return at + size;
}

static char *put_weight(const cell *n, char *at, uint16_t value)
{
    const uint8_t byte = (uint8_t)value;
    return n->kind == EI_WEIGHTS_F16 ? put(at, &value, 2) : put(at, &byte, 1);
}

/* The group of the columns' rows; -1 stands for zeros. Biases are given. Returns its end. */
static char *pack_group(const cell *n, char *at, const int64_t *rows, int64_t count, const float *bias,
                        int64_t biases)
{
    const int64_t columns = (count + core->lanes - 1) / core->lanes * core->lanes;
    char *begin = at;
    at = whole_vectors(begin, put(at, bias, (size_t)biases * sizeof *bias));
    if (n->kind != EI_WEIGHTS_F16)
        for (int which = 0; which < 2; which++)
            for (int64_t c = 0; c < columns; c++) {
                const float *from = which ? n->r_scale : n->w_scale;
                float scale = c < count ? from[rows[c]] : 0;
                scale = which && n->kind == EI_WEIGHTS_I8_FAST ? scale / 127 : scale;
                at = put(at, &scale, sizeof scale);
            }
    if (n->kind == EI_WEIGHTS_I8_FAST)
        for (int64_t c = 0; c < columns; c++) {
            int32_t sum = 0;
            for (int64_t k = 0; c < count && n->vnni && k < n->hidden; k++)
                sum -= 128 * (int8_t)(uint8_t)n->r[rows[c] * n->hidden + k];
            at = put(at, &sum, sizeof sum);
        }
    begin = at;
    for (int64_t k = 0; k < n->inputs; k++)
        for (int64_t c = 0; c < columns; c++)
            at = put_weight(n, at, c < count ? n->w[rows[c] * n->inputs + k] : 0);
    begin = at = whole_vectors(begin, at);
    const int64_t together = n->kind == EI_WEIGHTS_I8_FAST ? 4 : 1;
    for (int64_t k = 0; k < n->hidden; k += together)
        for (int64_t c = 0; c < columns; c++)
            for (int64_t i = k; i < k + together; i++)
                at = put_weight(n, at, c < count && i < n->hidden ? n->r[rows[c] * n->hidden + i] : 0);
    return whole_vectors(begin, at);
}

/* Gates [first, first + gates) in blocks of `units`. apart: a GRU's four biases. */
static char *pack_section(const cell *n, char *at, int64_t units, int64_t first, int64_t gates, int apart)
{
    const int64_t H = n->hidden;
    for (int64_t begin = 0; begin < H; begin += units) {
        const int64_t count = begin + units <= H ? units : H - begin;
        int64_t rows[4 * 64], columns = 0, biases = 0;
        float bias[4 * 64];
        for (int64_t g = first; g < first + gates; g++)
            for (int64_t u = begin; u < begin + count; u++) {
                rows[columns++] = g * H + u;
                bias[biases++] = n->wb[g * H + u] + (apart && g == 2 ? 0 : n->rb[g * H + u]);
            }
        for (int64_t u = begin; apart && u < begin + count; u++)
            bias[biases++] = n->rb[2 * H + u];
        at = pack_group(n, at, rows, columns, bias, biases);
    }
    return at;
}

static void pack(cell *n)
{
    const int64_t L = core->lanes;
    const size_t room = (size_t)(n->gates * (n->hidden + 4 * L) * (2 * (n->inputs + n->hidden + 8) + 4 * L + 64));
    n->packed = memory_block(room, 0);
    memset(n->packed, 0, room);
    if (n->op == EI_OP_LSTM_SMALL)
        pack_section(n, n->packed, L, 0, 4, 0);
    else if (n->op == EI_OP_RNN_SMALL)
        pack_section(n, n->packed, 4 * L, 0, 1, 0);
    else if (n->linear)
        pack_section(n, n->packed, L, 0, 3, 1);
    else
        pack_section(n, pack_section(n, n->packed, 2 * L, 0, 2, 0), 4 * L, 2, 1, 0);
}

static double seen(const cell *n, double h)
{
    const float q = nearbyintf((float)h * 127.0f);
    return n->kind == EI_WEIGHTS_I8_FAST ? fmin(127, fmax(-127, q)) / 127.0 : h;
}

static double w_sum(const cell *n, int64_t row, const float *x)
{
    double s = n->wb[row];
    for (int64_t k = 0; k < n->inputs; k++)
        s += weight(n, n->w, n->w_scale, row, n->inputs, k) * x[k];
    return s;
}

static double r_sum(const cell *n, int64_t row, const double *h)
{
    double s = n->rb[row];
    for (int64_t k = 0; k < n->hidden; k++)
        s += weight(n, n->r, n->r_scale, row, n->hidden, k) * seen(n, h[k]);
    return s;
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

static void reference_step(const cell *n, const float *x, const double *h, double *next, double *c)
{
    const int64_t H = n->hidden;
    double reset_h[MAX_HIDDEN];
    for (int64_t u = 0; u < H && n->op == EI_OP_GRU_SMALL; u++)
        /* in float, as it is rounded from there */
        reset_h[u] = (float)(sigmoid(w_sum(n, H + u, x) + r_sum(n, H + u, h)) * h[u]);
    for (int64_t u = 0; u < H; u++) {
        double gate[4];
        for (int64_t g = 0; g < n->gates; g++)
            gate[g] = w_sum(n, g * H + u, x) + r_sum(n, g * H + u, h);
        if (n->op == EI_OP_LSTM_SMALL) {
            c[u] = sigmoid(gate[2]) * c[u] + sigmoid(gate[0]) * tanh(gate[3]);
            next[u] = sigmoid(gate[1]) * tanh(c[u]);
        } else if (n->op == EI_OP_GRU_SMALL) {
            const double from_h =
                n->linear ? sigmoid(gate[1]) * r_sum(n, 2 * H + u, h) : r_sum(n, 2 * H + u, reset_h);
            const double z = sigmoid(gate[0]);
            next[u] = (1 - z) * tanh(w_sum(n, 2 * H + u, x) + from_h) + z * h[u];
        } else {
            next[u] = tanh(gate[0]);
        }
    }
}

/* One step of one row from h0 and c0 to h and c. */
static ei_instr cell_instruction(const cell *n, int64_t steps, const float *x, const float *h0, const float *c0,
                                 float *scratch, float *y, float *h, float *c)
{
    ei_instr instr = ei_bare_instr(n->op);
    const int64_t dim[] = {steps, 1, n->inputs, n->hidden, 1, 0, 0, n->linear, n->kind, n->vnni};
    memcpy(instr.dim, dim, sizeof dim);
    instr.act[0] = n->op == EI_OP_RNN_SMALL ? EI_ACT_TANH : EI_ACT_SIGMOID;
    instr.act[1] = instr.act[2] = EI_ACT_TANH;
    set_operand(&instr, 0, x);
    set_operand(&instr, 1, n->packed);
    set_operand(&instr, 2, h0);
    set_operand(&instr, 4, scratch);
    set_operand(&instr, OUT0, y);
    set_operand(&instr, OUT1, h);
    if (n->op == EI_OP_LSTM_SMALL) {
        set_operand(&instr, 3, c0);
        set_operand(&instr, OUT2, c);
    }
    return instr;
}

/* Rounding r*h to 8 bits may fall to the other side of a tie when r differs in its last bit: that moves a sum by one
 * step of a weight. */
#define TIE_TOLERANCE 4e-3
#define STEPS 3

static void check_cell(cell *n)
{
    const int64_t H = n->hidden, F = n->inputs, padded = (H + core->lanes - 1) / core->lanes * core->lanes;
    float *x = filled(unaligned(STEPS * F), STEPS * F, 1), *scratch = aligned((EI_SCRATCH_ROWS + 1) * padded);
    float *h = filled(unaligned((STEPS + 1) * H), H, 1), *c = filled(unaligned((STEPS + 1) * H), H, 1);
    float *y = unaligned(STEPS * H), *last_h = unaligned(H), *last_c = unaligned(H);
    const int ties = n->kind == EI_WEIGHTS_I8_FAST && n->op == EI_OP_GRU_SMALL && !n->linear;
    pack(n);
    for (int64_t t = 0; t < STEPS; t++) {
        double before[MAX_HIDDEN], next[MAX_HIDDEN], cell_state[MAX_HIDDEN];
        for (int64_t u = 0; u < H; u++) {
            before[u] = h[t * H + u];
            cell_state[u] = c[t * H + u];
        }
        const ei_instr instr =
            cell_instruction(n, 1, x + t * F, h + t * H, c + t * H, scratch, NULL, h + (t + 1) * H, c + (t + 1) * H);
        CHECK(run_one(&instr) == EI_OK, "small recurrent op failed");
        reference_step(n, x + t * F, before, next, cell_state);
        close_to("h of small weights", h + (t + 1) * H, next, H, ties ? TIE_TOLERANCE : SUM_TOLERANCE);
        if (n->op == EI_OP_LSTM_SMALL)
            close_to("c of small weights", c + (t + 1) * H, cell_state, H, SUM_TOLERANCE);
    }
    const ei_instr whole = cell_instruction(n, STEPS, x, h, c, scratch, y, last_h, last_c);
    run_one(&whole);
    same_bits("a sequence and its steps", y, h + H, STEPS * H);
    same_bits("Y_h and the last step", last_h, h + STEPS * H, H);
    if (n->op == EI_OP_LSTM_SMALL)
        same_bits("Y_c and the last step", last_c, c + STEPS * H, H);
}

static void check_cells(int op, int64_t linear)
{
    static const int kinds[] = {EI_WEIGHTS_F16, EI_WEIGHTS_I8, EI_WEIGHTS_I8_FAST};
    for (int k = 0; k < 3; k++)
        for (int hk = 0; hk < HIDDEN_SIZES; hk++)
            for (int64_t inputs = 1; inputs <= 17; inputs += 4)
                for (int vnni = 0; vnni <= (kinds[k] == EI_WEIGHTS_I8_FAST && ei_core_has_vnni(core)); vnni++) {
                    cell n = new_cell(op, kinds[k], inputs, hidden_sizes[hk], linear);
                    n.vnni = vnni;
                    check_cell(&n);
                    release();
                }
}

static void test_lstm(void) { check_cells(EI_OP_LSTM_SMALL, 0); }
static void test_gru_linear_before_reset(void) { check_cells(EI_OP_GRU_SMALL, 1); }
static void test_gru_reset_first(void) { check_cells(EI_OP_GRU_SMALL, 0); }
static void test_rnn(void) { check_cells(EI_OP_RNN_SMALL, 0); }

static void test_nan_in_h_spreads(void)
{
    static const int ops[] = {EI_OP_LSTM_SMALL, EI_OP_GRU_SMALL, EI_OP_RNN_SMALL};
    for (int k = 0; k < 3; k++)
        for (int hk = 0; hk < HIDDEN_SIZES; hk++) {
            const int64_t H = hidden_sizes[hk];
            cell n = new_cell(ops[k], EI_WEIGHTS_I8_FAST, 2, H, 0);
            n.vnni = ei_core_has_vnni(core);
            pack(&n);
            float *h = filled(unaligned(H), H, 1), *c = filled(unaligned(H), H, 1), *next = unaligned(H);
            float *next_c = unaligned(H), *x = filled(unaligned(2), 2, 1), *scratch = aligned(6 * (H + 64));
            h[H - 1] = NAN;
            const ei_instr instr = cell_instruction(&n, 1, x, h, c, scratch, NULL, next, next_c);
            CHECK(run_one(&instr) == EI_OK, "small recurrent op failed");
            for (int64_t u = 0; u < H; u++)
                CHECK(isnan(next[u]) && (k != 0 || isnan(next_c[u])), "unit %d of %d is not NaN", (int)u, (int)H);
            release();
        }
}

static void test_unknown_kinds_are_refused(void)
{
    cell n = new_cell(EI_OP_LSTM_SMALL, EI_WEIGHTS_I8, 1, 1, 0);
    float one[64] = {0};
    n.packed = (char *)aligned(64);
    n.kind = 9;
    const ei_instr instr = cell_instruction(&n, 1, one, one, one, aligned(6 * 64), NULL, one + 1, one + 2);
    CHECK(run_one(&instr) == EI_BAD_PROGRAM, "an unknown kind of weights ran");
    release();
}

const group small_groups[] = {
    {"LSTM, small weights", test_lstm},
    {"GRU linear_before_reset, small weights", test_gru_linear_before_reset},
    {"GRU, small weights", test_gru_reset_first},
    {"RNN, small weights", test_rnn},
    {"NaN in h, int8 fast", test_nan_in_h_spreads},
    {"unknown kinds of small weights", test_unknown_kinds_are_refused},
    {NULL, NULL},
};
