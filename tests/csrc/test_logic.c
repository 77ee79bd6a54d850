/* Comparisons, logic, choices, reductions and casts of booleans. */
#include "harness.h"

static const struct {
    int64_t rank, size[3], a[3], b[3];
} shapes[] = {
    {0, {0}, {0}, {0}},
    {1, {7}, {1}, {1}},
    {1, {7}, {1}, {0}},
    {2, {3, 5}, {5, 1}, {0, 1}},
    {2, {3, 5}, {1, 0}, {5, 1}},
    {3, {2, 3, 4}, {0, 4, 1}, {3, 1, 0}},
    {2, {0, 4}, {4, 1}, {4, 1}},
    {2, {4, 0}, {0, 1}, {0, 1}},
};
#define SHAPES ((int)(sizeof shapes / sizeof shapes[0]))
enum { MOST = 24 };

static int64_t count_of(int s)
{
    int64_t n = 1;
    for (int64_t k = 0; k < shapes[s].rank; k++)
        n *= shapes[s].size[k];
    return n;
}

/* Where element i of the output is read from. */
static int64_t place(int s, const int64_t *strides, int64_t i)
{
    int64_t at = 0;
    for (int64_t k = shapes[s].rank - 1; k >= 0; k--) {
        at += i % shapes[s].size[k] * strides[k];
        i /= shapes[s].size[k];
    }
    return at;
}

static int compared(int operation, double p, double q)
{
    switch (operation) {
    case EI_EQUAL: return p == q;
    case EI_LESS: return p < q;
    case EI_LESS_OR_EQUAL: return p <= q;
    case EI_GREATER: return p > q;
    case EI_GREATER_OR_EQUAL: return p >= q;
    case EI_AND: return p != 0 && q != 0;
    default: return p != 0 || q != 0;
    }
}

static void test_compare(void)
{
    static const double few[] = {0, 1, -1, 2, 0, 1};
    for (int s = 0; s < SHAPES; s++)
        for (int dtype = EI_F32; dtype <= EI_BOOL; dtype++)
            for (int operation = EI_EQUAL; operation <= EI_OR; operation++) {
                double a[MOST], b[MOST];
                const size_t item = dtype == EI_BOOL ? 1 : dtype == EI_I64 ? 8 : 4;
                char *pa = memory_block(MOST * item, 3), *pb = memory_block(MOST * item, 1);
                for (int k = 0; k < MOST; k++) {
                    a[k] = few[(k * 5 + s) % 6], b[k] = few[(k + operation) % 6];
                    if (dtype == EI_BOOL)
                        a[k] = a[k] != 0, b[k] = b[k] != 0;
                    if (dtype == EI_F32 && k % 7 == 3)
                        a[k] = NAN;
                    const float fa = (float)a[k], fb = (float)b[k];
                    const int64_t la = isnan(a[k]) ? 0 : (int64_t)a[k], lb = (int64_t)b[k];
                    const int32_t ia = (int32_t)la, ib = (int32_t)lb;
                    memcpy(pa + (size_t)k * item, dtype == EI_F32 ? (const void *)&fa : dtype == EI_I64 ? (const void *)&la : &ia,
                           item);
                    memcpy(pb + (size_t)k * item, dtype == EI_F32 ? (const void *)&fb : dtype == EI_I64 ? (const void *)&lb : &ib,
                           item);
                }
                const int64_t n = count_of(s), rank = shapes[s].rank;
                uint8_t *out = memory_block((size_t)n, 1);
                ei_instr instr = ei_bare_instr(EI_OP_COMPARE);
                memcpy(instr.dim, (int64_t[]){operation, dtype, rank}, 3 * sizeof(int64_t));
                memcpy(instr.dim + 3, shapes[s].size, (size_t)rank * 8);
                memcpy(instr.dim + 3 + rank, shapes[s].a, (size_t)rank * 8);
                memcpy(instr.dim + 3 + 2 * rank, shapes[s].b, (size_t)rank * 8);
                set_operand(&instr, 0, pa);
                set_operand(&instr, 1, pb);
                set_operand(&instr, OUT0, out);
                CHECK(run_one(&instr) == EI_OK, "compare failed");
                for (int64_t i = 0; i < n; i++)
                    CHECK(out[i] == compared(operation, a[place(s, shapes[s].a, i)], b[place(s, shapes[s].b, i)]),
                          "comparison %d of dtype %d, shape %d [%d]", operation, dtype, s, (int)i);
                release();
            }
}

static void test_where(void)
{
    static const int items[] = {1, 4, 8};
    for (int s = 0; s < SHAPES; s++)
        for (int k = 0; k < 3; k++) {
            const int64_t item = items[k], n = count_of(s), rank = shapes[s].rank;
            unsigned char *condition = memory_block(MOST, 1), *out = memory_block((size_t)(n * item), 1);
            unsigned char *a = memory_block((size_t)(MOST * item), 1), *b = memory_block((size_t)(MOST * item), 3);
            for (int64_t i = 0; i < MOST * item; i++) {
                a[i] = (unsigned char)(i + 1);
                b[i] = (unsigned char)(255 - i);
            }
            for (int i = 0; i < MOST; i++)
                condition[i] = (unsigned char)(i % 3 == 0 ? 0 : i);
            ei_instr instr = ei_bare_instr(EI_OP_WHERE);
            memcpy(instr.dim, (int64_t[]){item, rank}, 2 * sizeof(int64_t));
            memcpy(instr.dim + 2, shapes[s].size, (size_t)rank * 8);
            memcpy(instr.dim + 2 + rank, shapes[s].b, (size_t)rank * 8);
            memcpy(instr.dim + 2 + 2 * rank, shapes[s].a, (size_t)rank * 8);
            memcpy(instr.dim + 2 + 3 * rank, shapes[s].b, (size_t)rank * 8);
            set_operand(&instr, 0, condition);
            set_operand(&instr, 1, a);
            set_operand(&instr, 2, b);
            set_operand(&instr, OUT0, out);
            CHECK(run_one(&instr) == EI_OK, "where failed");
            for (int64_t i = 0; i < n; i++) {
                const int64_t at = place(s, shapes[s].b, i);
                const unsigned char *want = condition[at] ? a + place(s, shapes[s].a, i) * item : b + at * item;
                CHECK(memcmp(out + i * item, want, (size_t)item) == 0, "where of %d bytes, shape %d", (int)item, s);
            }
            release();
        }
}

static double reduced(int operation, double p, double q)
{
    switch (operation) {
    case EI_ADD: return p + q;
    case EI_MUL: return p * q;
    case EI_MIN: return isnan(p) || isnan(q) ? NAN : fmin(p, q);
    default: return isnan(p) || isnan(q) ? NAN : fmax(p, q);
    }
}

static void test_reduce(void)
{
    static const int operations[] = {EI_ADD, EI_MUL, EI_MIN, EI_MAX};
    static const int64_t forms[][3] = {{3, 4, 1}, {1, 12, 1}, {2, 3, 2}, {1, 2, 6}, {12, 1, 1}, {0, 3, 2}, {2, 3, 0}};
    for (int k = 0; k < 4; k++)
        for (int form = 0; form < 7; form++)
            for (int dtype = EI_F32; dtype <= EI_I64; dtype++)
                for (int mean = 0; mean <= (dtype == EI_F32 && operations[k] == EI_ADD); mean++) {
                    const int64_t rows = forms[form][0], n = forms[form][1], inner = forms[form][2];
                    const size_t item = dtype == EI_I64 ? 8 : 4;
                    double x[12];
                    char *from = memory_block(12 * item, 2), *to = memory_block((size_t)(rows * inner) * item, 2);
                    for (int i = 0; i < 12; i++) {
                        x[i] = (i * 5) % 7 - 3;
                        const int32_t narrow = (int32_t)x[i];
                        const int64_t wide = narrow;
                        const float f = i == 7 ? NAN : (float)x[i];
                        x[i] = dtype == EI_F32 ? (double)f : x[i];
                        const void *as = dtype == EI_F32 ? (const void *)&f : dtype == EI_I64 ? (const void *)&wide : &narrow;
                        memcpy(from + (size_t)i * item, as, item);
                    }
                    ei_instr instr = ei_bare_instr(EI_OP_REDUCE);
                    memcpy(instr.dim, (int64_t[]){operations[k], dtype, rows, n, inner, mean}, 6 * sizeof(int64_t));
                    set_operand(&instr, 0, from);
                    set_operand(&instr, OUT0, to);
                    CHECK(run_one(&instr) == EI_OK, "reduce failed");
                    for (int64_t at = 0; at < rows * inner; at++) {
                        const int64_t begin = at / inner * n * inner + at % inner;
                        double want = x[begin], got;
                        for (int64_t i = 1; i < n; i++)
                            want = reduced(operations[k], want, x[begin + i * inner]);
                        want = (float)(mean ? want / (double)n : want);
                        float f = 0;
                        int32_t narrow = 0;
                        int64_t wide = 0;
                        memcpy(&f, to + at * 4, dtype == EI_F32 ? 4 : 0);
                        memcpy(&narrow, to + at * 4, dtype == EI_I32 ? 4 : 0);
                        memcpy(&wide, to + at * 8, dtype == EI_I64 ? 8 : 0);
                        got = dtype == EI_F32 ? (double)f : dtype == EI_I32 ? narrow : (double)wide;
                        CHECK(got == want || (isnan(got) && isnan(want)), "operation %d, dtype %d, form %d: %g", k, dtype,
                              form, got);
                    }
                    instr.dim[3] = 0;
                    CHECK(run_one(&instr) == EI_BAD_PROGRAM, "nothing to reduce");
                    release();
                }
    const int32_t narrow[] = {INT32_MAX, 1};
    const int64_t wide[] = {INT64_MAX, 1};
    int32_t narrow_sum = 0;
    int64_t wide_sum = 0;
    ei_instr instr = ei_bare_instr(EI_OP_REDUCE);
    memcpy(instr.dim, (int64_t[]){EI_ADD, EI_I32, 1, 2, 1}, 5 * sizeof(int64_t));
    set_operand(&instr, 0, narrow);
    set_operand(&instr, OUT0, &narrow_sum);
    run_one(&instr);
    instr.dim[1] = EI_I64;
    set_operand(&instr, 0, wide);
    set_operand(&instr, OUT0, &wide_sum);
    run_one(&instr);
    CHECK(narrow_sum == INT32_MIN && wide_sum == INT64_MIN, "integers wrap");
}

static void test_cast(void)
{
    const float f[] = {0, -0.0f, 1, 1e-30f, NAN, -5};
    const int32_t i[] = {0, 0, 1, -1, INT32_MIN, 256};
    const int64_t l[] = {0, 0, 1, -1, 1LL << 40, 256};
    const uint8_t bytes[] = {0, 0, 1, 255, 2, 1};
    const void *from[] = {f, i, l, bytes};
    for (int dtype = EI_F32; dtype <= EI_BOOL; dtype++) {
        uint8_t out[6];
        int32_t i_out[6];
        int64_t l_out[6];
        float f_out[6];
        void *to[] = {f_out, i_out, l_out, out};
        ei_instr instr = ei_bare_instr(EI_OP_CAST);
        memcpy(instr.dim, (int64_t[]){6, dtype, EI_BOOL}, 3 * sizeof(int64_t));
        set_operand(&instr, 0, from[dtype]);
        set_operand(&instr, OUT0, out);
        CHECK(run_one(&instr) == EI_OK, "cast failed");
        for (int k = 0; k < 6; k++)
            CHECK((out[k] != 0) == (k > 1), "dtype %d to a boolean", dtype);
        memcpy(instr.dim, (int64_t[]){6, EI_BOOL, dtype}, 3 * sizeof(int64_t));
        set_operand(&instr, 0, bytes);
        set_operand(&instr, OUT0, to[dtype]);
        CHECK(run_one(&instr) == EI_OK, "cast failed");
        for (int k = 0; dtype != EI_BOOL && k < 6; k++)
            CHECK((dtype == EI_F32   ? f_out[k] == (float)(k > 1)
                   : dtype == EI_I32 ? i_out[k] == (k > 1)
                                     : l_out[k] == (k > 1)),
                  "a boolean to dtype %d", dtype);
    }
}

const group logic_groups[] = {
    {"comparisons and logic", test_compare},
    {"where", test_where},
    {"reductions", test_reduce},
    {"casts of booleans", test_cast},
    {NULL, NULL},
};
