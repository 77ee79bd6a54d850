/* The other ops, programs that are refused, and the finite check. */
#include "harness.h"

/* Where weight [k, j] of a Dense lies, k = -1 for the bias: the layout in core.h. */
static int64_t dense_at(int64_t k, int64_t j, int64_t K, int64_t N)
{
    const int64_t L = core->lanes;
    if (4 * N <= L)
        return k < 0 ? j : L + j * ((K + L - 1) / L * L) + k;
    const int64_t before = j / (4 * L) * 4 * L, left = N - before, count = left < 4 * L ? left : 4 * L;
    const int64_t width = (count + L - 1) / L * L;
    const int64_t row = k >= 0 && width > 2 * L ? turn_of(k, K) : k;
    return before * (K + 1) + (row + 1) * width + j % (4 * L);
}

static void test_dense(void)
{
    static const int64_t columns[] = {1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 24, 33, 64, 65, 130};
    static const int64_t depths[] = {0, 1, 3, 17, 50, 66};
    for (int ck = 0; ck < 15; ck++)
        for (int dk = 0; dk < 6; dk++)
            for (int64_t rows = 0; rows <= 6; rows++) {
                const int64_t N = columns[ck], K = depths[dk], L = core->lanes;
                const int64_t size = (K + L) * ((N + L - 1) / L * L) + L * (K + 1);
                float *x = filled(unaligned(rows * K), rows * K, 1), *out = unaligned(rows * N), *once = unaligned(N);
                float *packed = aligned(size);
                memset(packed, 0, (size_t)size * sizeof(float));
                for (int64_t j = 0; j < N; j++)
                    for (int64_t k = -1; k < K; k++)
                        packed[dense_at(k, j, K, N)] = 0.3f * uniform();
                ei_instr instr = ei_bare_instr(EI_OP_DENSE);
                instr.act[0] = EI_ACT_TANH;
                memcpy(instr.dim, (int64_t[]){rows, K, N}, 3 * sizeof(int64_t));
                set_operand(&instr, 0, x);
                set_operand(&instr, 1, packed);
                set_operand(&instr, OUT0, out);
                CHECK(run_one(&instr) == EI_OK, "dense failed");
                for (int64_t r = 0; r < rows; r++) {
                    double want[130];
                    for (int64_t j = 0; j < N; j++) {
                        want[j] = packed[dense_at(-1, j, K, N)];
                        for (int64_t k = 0; k < K; k++)
                            want[j] += (double)x[r * K + k] * packed[dense_at(k, j, K, N)];
                        want[j] = tanh(want[j]);
                    }
                    close_to("dense", out + r * N, want, N, SUM_TOLERANCE);
                    instr.dim[0] = 1;
                    set_operand(&instr, 0, x + r * K);
                    set_operand(&instr, OUT0, once);
                    run_one(&instr);
                    same_bits("a row alone or among others", once, out + r * N, N);
                }
                release();
            }
}

static void test_gather(void)
{
    for (int wide = 0; wide < 2; wide++)
        for (int64_t row = 0; row <= 9; row += 3) {
            const int64_t rows = 4, count = 6;
            const int64_t index[] = {0, 3, -1, -4, 2, 2};
            char *table = memory_block((size_t)(rows * row), 1), *out = memory_block((size_t)(count * row), 3);
            char *narrow_index = memory_block(count * sizeof(int32_t), 2);
            char *wide_index = memory_block(count * sizeof(int64_t), 2);
            for (int64_t k = 0; k < rows * row; k++)
                table[k] = (char)k;
            for (int64_t k = 0; k < count; k++) {
                const int32_t narrow = (int32_t)index[k];
                memcpy(narrow_index + k * 4, &narrow, 4);
                memcpy(wide_index + k * 8, &index[k], 8);
            }
            ei_instr instr = ei_bare_instr(EI_OP_GATHER);
            memcpy(instr.dim, (int64_t[]){count, rows, row, wide ? EI_I64 : EI_I32}, 4 * sizeof(int64_t));
            set_operand(&instr, 0, table);
            set_operand(&instr, 1, wide ? wide_index : narrow_index);
            set_operand(&instr, OUT0, out);
            CHECK(run_one(&instr) == EI_OK, "gather failed");
            for (int64_t k = 0; k < count; k++)
                CHECK(memcmp(out + k * row, table + (index[k] + rows) % rows * row, (size_t)row) == 0, "gather row");
            static const int64_t bad[] = {4, -5, INT32_MAX, INT32_MIN};
            for (int k = 0; k < 4; k++) {
                const int32_t narrow = (int32_t)bad[k];
                memcpy(narrow_index + 20, &narrow, 4);
                memcpy(wide_index + 40, &bad[k], 8);
                CHECK(run_one(&instr) == EI_INDEX_OUT_OF_RANGE, "index %d was taken", narrow);
            }
            instr.dim[3] = EI_F32;
            CHECK(run_one(&instr) == EI_BAD_PROGRAM, "a float index was taken");
            release();
        }
}

static double binary_reference(int operation, double a, double b)
{
    switch (operation) {
    case EI_ADD: return a + b;
    case EI_SUB: return a - b;
    case EI_MUL: return a * b;
    case EI_DIV: return a / b;
    case EI_MIN: return a < b ? a : b;
    default: return a > b ? a : b;
    }
}

static void test_binary_float(void)
{
    static const struct {
        int64_t rank, size[4], a[4], b[4];
    } shapes[] = {
        {0, {0}, {0}, {0}},
        {1, {1}, {1}, {1}},
        {1, {37}, {1}, {1}},
        {1, {37}, {1}, {0}},
        {1, {37}, {0}, {1}},
        {2, {3, 19}, {19, 1}, {0, 1}},
        {2, {3, 19}, {1, 0}, {19, 1}},
        {3, {2, 3, 17}, {0, 17, 1}, {3, 1, 0}},
        {4, {2, 3, 2, 5}, {30, 10, 5, 1}, {1, 0, 2, 4}},
        {2, {0, 4}, {4, 1}, {4, 1}},
        {2, {4, 0}, {0, 1}, {0, 1}},
    };
    for (int operation = EI_ADD; operation <= EI_MAX; operation++)
        for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
            for (int activated = 0; activated < 2; activated++) {
                const int64_t rank = shapes[s].rank, *size = shapes[s].size;
                int64_t count = 1;
                for (int64_t k = 0; k < rank; k++)
                    count *= size[k];
                float *a = filled(unaligned(80), 80, 3), *b = filled(unaligned(80), 80, 3), *out = unaligned(count);
                double want[128];
                ei_instr instr = ei_bare_instr(EI_OP_BINARY);
                instr.act[0] = activated ? EI_ACT_TANH : EI_ACT_LINEAR;
                memcpy(instr.dim, (int64_t[]){operation, EI_F32, rank}, 3 * sizeof(int64_t));
                for (int64_t k = 0; k < rank; k++) {
                    instr.dim[3 + k] = size[k];
                    instr.dim[3 + rank + k] = shapes[s].a[k];
                    instr.dim[3 + 2 * rank + k] = shapes[s].b[k];
                }
                for (int64_t i = 0; i < count; i++) {
                    int64_t rest = i, at_a = 0, at_b = 0;
                    for (int64_t k = rank - 1; k >= 0; k--) {
                        at_a += rest % size[k] * shapes[s].a[k];
                        at_b += rest % size[k] * shapes[s].b[k];
                        rest /= size[k];
                    }
                    want[i] = binary_reference(operation, a[at_a], b[at_b]);
                    want[i] = activated ? tanh(want[i]) : want[i];
                }
                set_operand(&instr, 0, a);
                set_operand(&instr, 1, b);
                set_operand(&instr, OUT0, out);
                CHECK(run_one(&instr) == EI_OK, "binary failed");
                close_to("binary", out, want, count, FEW_ULP);
                release();
            }
    ei_instr instr = ei_bare_instr(EI_OP_BINARY);
    for (int operation = EI_MIN; operation <= EI_MAX; operation++)
        for (int side = 0; side < 2; side++) {
            float pair[2] = {1, 1}, out = 0;
            pair[side] = NAN;
            memcpy(instr.dim, (int64_t[]){operation, EI_F32, 1, 1, 1, 1}, 6 * sizeof(int64_t));
            set_operand(&instr, 0, &pair[0]);
            set_operand(&instr, 1, &pair[1]);
            set_operand(&instr, OUT0, &out);
            run_one(&instr);
            CHECK(isnan(out), "Min and Max of NaN give %g", (double)out);
        }
}

static void check_integers(int operation, int64_t a, int64_t b, int32_t want32, int64_t want64)
{
    /* 19 of them, so that the vectors made by the compiler are met as well as the rest of the loop. */
    int32_t a32[19], b32[19], out32[19];
    int64_t a64[19], b64[19], out64[19];
    for (int k = 0; k < 19; k++) {
        a64[k] = a, b64[k] = b;
        a32[k] = (int32_t)(a == INT64_MIN ? INT32_MIN : a == INT64_MAX ? INT32_MAX : a);
        b32[k] = (int32_t)(b == INT64_MIN ? INT32_MIN : b == INT64_MAX ? INT32_MAX : b);
    }
    for (int stride = 0; stride < 2; stride++) {
        ei_instr instr = ei_bare_instr(EI_OP_BINARY);
        memcpy(instr.dim, (int64_t[]){operation, EI_I32, 1, 19, 1, stride}, 6 * sizeof(int64_t));
        set_operand(&instr, 0, a32);
        set_operand(&instr, 1, b32);
        set_operand(&instr, OUT0, out32);
        CHECK(run_one(&instr) == EI_OK, "binary failed");
        instr.dim[1] = EI_I64;
        set_operand(&instr, 0, a64);
        set_operand(&instr, 1, b64);
        set_operand(&instr, OUT0, out64);
        CHECK(run_one(&instr) == EI_OK, "binary failed");
        for (int k = 0; k < 19; k++) {
            CHECK(out32[k] == want32, "operation %d: want %d, got %d", operation, want32, out32[k]);
            CHECK(out64[k] == want64, "operation %d: want %lld, got %lld", operation, (long long)want64,
                  (long long)out64[k]);
        }
    }
}

static void test_binary_integer(void)
{
    check_integers(EI_ADD, 7, -9, -2, -2);
    check_integers(EI_SUB, 7, -9, 16, 16);
    check_integers(EI_MUL, 7, -9, -63, -63);
    check_integers(EI_DIV, 9, -7, -1, -1);
    check_integers(EI_MIN, 7, -9, -9, -9);
    check_integers(EI_MAX, 7, -9, 7, 7);
    check_integers(EI_ADD, INT64_MAX, 1, INT32_MIN, INT64_MIN);
    check_integers(EI_SUB, INT64_MIN, 1, INT32_MAX, INT64_MAX);
    check_integers(EI_MUL, INT64_MAX, 2, -2, -2);
    check_integers(EI_DIV, INT64_MIN, -1, INT32_MIN, INT64_MIN);
    check_integers(EI_DIV, 5, 0, 0, 0);
}

static void test_softmax(void)
{
    static const int64_t sizes[] = {1, 2, 7, 8, 9, 16, 17, 33, 100, 5000};
    for (int log_form = 0; log_form < 2; log_form++)
        for (int k = 0; k < 10; k++) {
            const int64_t n = sizes[k], rows = 3;
            float *x = filled(unaligned(rows * n), rows * n, 10), *y = unaligned(rows * n);
            double *want = memory_block((size_t)n * sizeof(double), 0);
            if (n > 1)
                x[n / 2] = -1e30f, x[n + n / 2] = -INFINITY, x[2 * n + n / 2] = 1e30f;
            ei_instr instr = ei_bare_instr(EI_OP_SOFTMAX);
            memcpy(instr.dim, (int64_t[]){rows, n, log_form}, 3 * sizeof(int64_t));
            set_operand(&instr, 0, x);
            set_operand(&instr, OUT0, y);
            CHECK(run_one(&instr) == EI_OK, "softmax failed");
            for (int64_t r = 0; r < rows; r++) {
                double maximum = -INFINITY, sum = 0;
                for (int64_t i = 0; i < n; i++)
                    maximum = x[r * n + i] > maximum ? x[r * n + i] : maximum;
                for (int64_t i = 0; i < n; i++)
                    sum += exp(x[r * n + i] - maximum);
                for (int64_t i = 0; i < n; i++) {
                    want[i] = x[r * n + i] - maximum;
                    want[i] = log_form ? want[i] - log(sum) : exp(want[i]) / sum;
                    const float got = y[r * n + i];
                    /* The sum's error adds to the element's; a logarithm near 0 keeps the absolute one. */
                    const double size = fmax(log_form ? 1 : 1e-38, fabs(want[i]));
                    CHECK(got == want[i] || fabs(got - want[i]) <= 2 * EI_EXP_MAX_ERROR * size,
                          "softmax: want %.9g, got %.9g", want[i], (double)got);
                }
            }
            set_operand(&instr, OUT0, x);
            run_one(&instr);
            same_bits("in place", x, y, rows * n);
            for (int64_t i = 0; i < n; i++) {
                x[i] = -1e38f * (float)(i + 1 < n);
                x[n + i] = i == n / 3 ? NAN : 1;
            }
            instr.dim[0] = 2;
            set_operand(&instr, OUT0, y);
            run_one(&instr);
            for (int64_t i = 0; i < n; i++) {
                const float want_large = i + 1 < n ? (log_form ? -1e38f : 0.0f) : (log_form ? 0.0f : 1.0f);
                CHECK(y[i] == want_large, "large negative values: %g", (double)y[i]);
                CHECK(isnan(y[n + i]), "a row with NaN: %g", (double)y[n + i]);
            }
            release();
        }
}

static void test_copy(void)
{
    static const int items[] = {1, 2, 4, 8};
    for (int k = 0; k < 4; k++) {
        const int64_t item = items[k], count = 2 * 3 * 5;
        unsigned char *from = memory_block((size_t)(count * item), 1), *to = memory_block((size_t)(count * item), 1);
        for (int64_t i = 0; i < count * item; i++)
            from[i] = (unsigned char)(i + 1);
        ei_instr instr = ei_bare_instr(EI_OP_COPY);
        /* [2, 3, 5] with the middle axis reversed, written as [5, 2, 3]. */
        memcpy(instr.dim, (int64_t[]){item, 3, 2, 3, 5, 15, -5, 1, 3, 1, 6}, 11 * sizeof(int64_t));
        set_operand(&instr, 0, from + 10 * item);
        set_operand(&instr, OUT0, to);
        CHECK(run_one(&instr) == EI_OK, "copy failed");
        for (int64_t a = 0; a < 2; a++)
            for (int64_t b = 0; b < 3; b++)
                for (int64_t c = 0; c < 5; c++)
                    CHECK(memcmp(to + (c * 6 + a * 3 + b) * item, from + (a * 15 + (2 - b) * 5 + c) * item,
                                 (size_t)item) == 0,
                          "copy of %d bytes", (int)item);
        memcpy(instr.dim, (int64_t[]){item, 2, 2, 15, 15, 1, 15, 1}, 8 * sizeof(int64_t));
        set_operand(&instr, 0, from);
        run_one(&instr);
        CHECK(memcmp(from, to, (size_t)(count * item)) == 0, "a plain copy");
        memcpy(instr.dim, (int64_t[]){item, 0}, 2 * sizeof(int64_t));
        set_operand(&instr, 0, from + 7 * item);
        run_one(&instr);
        CHECK(memcmp(from + 7 * item, to, (size_t)item) == 0, "a scalar");
        memset(to, 0, (size_t)(count * item));
        memcpy(instr.dim, (int64_t[]){item, 2, 4, 0, 1, 1, 1, 1}, 8 * sizeof(int64_t));
        run_one(&instr);
        memcpy(instr.dim, (int64_t[]){item, 2, 0, 4, 1, 1, 1, 1}, 8 * sizeof(int64_t));
        run_one(&instr);
        CHECK(to[0] == 0, "a copy of nothing wrote");
        release();
    }
}

static void test_cast(void)
{
    static const float f[] = {0,      1.9f, -1.9f,    2147483520.0f, 2147483648.0f, -2147483648.0f,
                              -1e30f, NAN,  INFINITY, 3e9f};
    static const int32_t f_i32[] = {0,         1,         -1,        2147483520, INT32_MIN,
                                    INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN,  INT32_MIN};
    static const int64_t f_i64[] = {0,         1,         -1,        2147483520,  2147483648, -2147483648LL,
                                    INT64_MIN, INT64_MIN, INT64_MIN, 3000000000LL};
    static const int64_t l[] = {0, -7, 1LL << 40, INT32_MAX, INT64_MIN, 4294967295LL, 16777217, 1, 2, 3};
    int32_t i32[10];
    int64_t i64[10];
    float f32[10];
    ei_instr instr = ei_bare_instr(EI_OP_CAST);
#define CAST(from, from_dtype, to, to_dtype)                                       \
    memcpy(instr.dim, (int64_t[]){10, from_dtype, to_dtype}, 3 * sizeof(int64_t)); \
    set_operand(&instr, 0, from);                                                  \
    set_operand(&instr, OUT0, to);                                                 \
    CHECK(run_one(&instr) == EI_OK, "cast failed")
    CAST(f, EI_F32, i32, EI_I32);
    CHECK(memcmp(i32, f_i32, sizeof i32) == 0, "float32 to int32");
    CAST(f, EI_F32, i64, EI_I64);
    CHECK(memcmp(i64, f_i64, sizeof i64) == 0, "float32 to int64");
    CAST(i32, EI_I32, i64, EI_I64);
    CAST(i32, EI_I32, f32, EI_F32);
    for (int k = 0; k < 10; k++)
        CHECK(i64[k] == i32[k] && f32[k] == (float)i32[k], "int32 to int64 and float32");
    CAST(l, EI_I64, i32, EI_I32);
    CAST(l, EI_I64, f32, EI_F32);
    for (int k = 0; k < 10; k++)
        CHECK(i32[k] == (int32_t)(uint32_t)(uint64_t)l[k] && f32[k] == (float)l[k], "int64 to int32 and float32");
    CAST(l, EI_I64, i64, EI_I64);
    CHECK(memcmp(l, i64, sizeof l) == 0, "int64 to itself");
    CAST(f, EI_F32, f32, EI_F32);
    CHECK(memcmp(f, f32, sizeof f) == 0, "float32 to itself");
#undef CAST
}

static void test_bad_programs(void)
{
    static const int ops[] = {EI_OP_LSTM, EI_OP_GRU, EI_OP_RNN, EI_OP_DENSE, EI_OP_UNARY, EI_OP_BINARY};
    static const int32_t unknown[] = {-1, 12, 31, EI_ACT_ERF + 1, INT32_MAX, INT32_MIN};
    for (int k = 0; k < 6; k++)
        for (int u = 0; u < 6; u++) {
            ei_instr instr = ei_bare_instr(ops[k]);
            instr.act[0] = unknown[u];
            CHECK(run_one(&instr) == EI_BAD_PROGRAM, "op %d took activation %d", ops[k], unknown[u]);
        }
    static const int32_t bad_ops[] = {0, 12, -1, INT32_MAX};
    for (int k = 0; k < 4; k++) {
        const ei_instr instr = ei_bare_instr(bad_ops[k]);
        CHECK(run_one(&instr) == EI_BAD_PROGRAM, "op %d was taken", bad_ops[k]);
    }
    static const struct {
        int op;
        int64_t dim[3];
        int act;
    } bad[] = {
        {EI_OP_BINARY, {6, EI_F32, 0}, 0},
        {EI_OP_BINARY, {EI_ADD, 3, 0}, 0},
        {EI_OP_BINARY, {EI_ADD, EI_F32, 9}, 0},
        {EI_OP_BINARY, {EI_ADD, EI_I32, 0}, EI_ACT_RELU},
        {EI_OP_BINARY, {EI_ADD, EI_F32, -1}, 0},
        {EI_OP_COPY, {3, 0, 0}, 0},
        {EI_OP_COPY, {4, 9, 0}, 0},
        {EI_OP_COPY, {4, -1, 0}, 0},
        {EI_OP_CAST, {0, 4, EI_F32}, 0},
        {EI_OP_COMPARE, {7, EI_F32, 0}, 0},
        {EI_OP_COMPARE, {-1, EI_BOOL, 0}, 0},
        {EI_OP_COMPARE, {EI_EQUAL, 4, 0}, 0},
        {EI_OP_COMPARE, {EI_EQUAL, EI_F32, 9}, 0},
        {EI_OP_COMPARE, {EI_EQUAL, EI_F32, -1}, 0},
        {EI_OP_WHERE, {2, 0, 0}, 0},
        {EI_OP_WHERE, {4, 7, 0}, 0},
        {EI_OP_WHERE, {4, -1, 0}, 0},
        {EI_OP_REDUCE, {EI_ADD, EI_F32, 1}, 0},
        {EI_OP_CAST, {0, EI_F32, -1}, 0},
        {EI_OP_CAST, {0, 7, 7}, 0},
    };
    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
        float a = 1, b = 1, out = 1;
        ei_instr instr = ei_bare_instr(bad[k].op);
        memcpy(instr.dim, bad[k].dim, sizeof bad[k].dim);
        instr.act[0] = bad[k].act;
        set_operand(&instr, 0, &a);
        set_operand(&instr, 1, &b);
        set_operand(&instr, OUT0, &out);
        CHECK(run_one(&instr) == EI_BAD_PROGRAM, "bad program %zu was taken", k);
    }
}

static void test_all_finite(void)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t n = 0; n < 70; n++) {
        char *raw = memory_block(n * sizeof(float), 1);
        float value = FLT_MAX;
        for (size_t i = 0; i < n; i++)
            memcpy(raw + i * 4, &value, 4);
        CHECK(core->all_finite((const float *)(const void *)raw, n) == 1, "%zu finite values", n);
        for (size_t i = 0; i < n; i++) {
            memcpy(raw + i * 4, &bad[i % 3], 4);
            CHECK(core->all_finite((const float *)(const void *)raw, n) == 0, "value %zu of %zu", i, n);
            memcpy(raw + i * 4, &value, 4);
        }
        release();
    }
}

const group op_groups[] = {
    {"dense", test_dense},
    {"gather", test_gather},
    {"binary, float32", test_binary_float},
    {"binary, integers", test_binary_integer},
    {"softmax", test_softmax},
    {"copy", test_copy},
    {"cast", test_cast},
    {"bad programs are refused", test_bad_programs},
    {"all finite", test_all_finite},
    {NULL, NULL},
};
