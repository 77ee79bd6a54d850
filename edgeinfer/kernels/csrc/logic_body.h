/* Comparisons, logic, choices and reductions: what a mask is made of. Booleans are bytes, 0 or 1 where written here. */

/* Brings the offsets of `operands` strided arrays from one row of the last axis to the next. */
EI_INLINE void ei_next_row(int64_t rank, const int64_t *size, const int64_t *strides, int operands, int64_t *at,
                           int64_t *offsets)
{
    for (int64_t k = rank - 2; k >= 0; k--) {
        for (int i = 0; i < operands; i++)
            offsets[i] += strides[i * rank + k];
        if (++at[k] < size[k])
            return;
        for (int i = 0; i < operands; i++)
            offsets[i] -= size[k] * strides[i * rank + k];
        at[k] = 0;
    }
}

#define EI_COMPARE_LOOP(expression)       \
    do {                                  \
        for (int64_t i = 0; i < n; i++) { \
            const value p = a[i * sa];    \
            const value q = b[i * sb];    \
            out[i] = (expression);        \
        }                                 \
        return 1;                         \
    } while (0)

#define EI_COMPARE_ROW(name, memory, type)                                                                   \
    static int name(int64_t operation, const memory *a, int64_t sa, const memory *b, int64_t sb, ei_u8 *out, \
                    int64_t n)                                                                               \
    {                                                                                                        \
        typedef type value;                                                                                  \
        switch (operation) {                                                                                 \
        case EI_EQUAL: EI_COMPARE_LOOP(p == q);                                                              \
        case EI_LESS: EI_COMPARE_LOOP(p < q);                                                                \
        case EI_LESS_OR_EQUAL: EI_COMPARE_LOOP(p <= q);                                                      \
        case EI_GREATER: EI_COMPARE_LOOP(p > q);                                                             \
        case EI_GREATER_OR_EQUAL: EI_COMPARE_LOOP(p >= q);                                                   \
        case EI_AND: EI_COMPARE_LOOP(p != 0 && q != 0);                                                      \
        case EI_OR: EI_COMPARE_LOOP(p != 0 || q != 0);                                                       \
        default: return 0;                                                                                   \
        }                                                                                                    \
    }

EI_COMPARE_ROW(ei_compare_row_f32, ei_f32, float)
EI_COMPARE_ROW(ei_compare_row_i32, ei_i32, int32_t)
EI_COMPARE_ROW(ei_compare_row_i64, ei_i64, int64_t)
EI_COMPARE_ROW(ei_compare_row_bool, ei_u8, uint8_t)

static EI_NOINLINE ei_status EI_FN(ei_compare)(const ei_instr *instr, char *const *bases)
{
    const int64_t operation = instr->dim[0], dtype = instr->dim[1], rank = instr->dim[2];
    if (rank < 0 || rank > EI_MAX_RANK || dtype < EI_F32 || dtype > EI_BOOL)
        return EI_BAD_PROGRAM;
    const int64_t *size = instr->dim + 3, *strides = size + rank;
    const char *a = ei_in(instr, bases, 0), *b = ei_in(instr, bases, 1);
    ei_u8 *out = (ei_u8 *)ei_out(instr, bases, 0);
    const int64_t item = dtype == EI_BOOL ? 1 : dtype == EI_I64 ? 8 : 4, n = rank > 0 ? size[rank - 1] : 1;
    const int64_t sa = rank > 0 ? strides[rank - 1] : 0, sb = rank > 0 ? strides[2 * rank - 1] : 0;
    int64_t rows = 1, at[EI_MAX_RANK] = {0}, offsets[2] = {0};
    for (int64_t k = 0; k + 1 < rank; k++)
        rows *= size[k];
    for (int64_t row = 0; row < rows; row++, out += n) {
        const char *p = a + offsets[0] * item, *q = b + offsets[1] * item;
        int known;
        if (dtype == EI_F32)
            known = ei_compare_row_f32(operation, (const ei_f32 *)p, sa, (const ei_f32 *)q, sb, out, n);
        else if (dtype == EI_I32)
            known = ei_compare_row_i32(operation, (const ei_i32 *)p, sa, (const ei_i32 *)q, sb, out, n);
        else if (dtype == EI_I64)
            known = ei_compare_row_i64(operation, (const ei_i64 *)p, sa, (const ei_i64 *)q, sb, out, n);
        else
            known = ei_compare_row_bool(operation, (const ei_u8 *)p, sa, (const ei_u8 *)q, sb, out, n);
        if (!known)
            return EI_BAD_PROGRAM;
        ei_next_row(rank, size, strides, 2, at, offsets);
    }
    return EI_OK;
}

#define EI_WHERE_ROW(type)                                                     \
    do {                                                                       \
        const type *p = (const type *)a + offsets[1];                          \
        const type *q = (const type *)b + offsets[2];                          \
        type *to = (type *)out + row * n;                                      \
        for (int64_t i = 0; i < n; i++)                                        \
            to[i] = chosen[i * sc] != 0 ? p[i * sa] : q[i * sb];               \
    } while (0)

static EI_NOINLINE ei_status EI_FN(ei_where)(const ei_instr *instr, char *const *bases)
{
    const int64_t item = instr->dim[0], rank = instr->dim[1];
    if (rank < 0 || rank > EI_WHERE_RANK || (item != 1 && item != 4 && item != 8))
        return EI_BAD_PROGRAM;
    const int64_t *size = instr->dim + 2, *strides = size + rank;
    const ei_u8 *condition = (const ei_u8 *)ei_in(instr, bases, 0);
    const char *a = ei_in(instr, bases, 1), *b = ei_in(instr, bases, 2);
    char *out = ei_out(instr, bases, 0);
    const int64_t n = rank > 0 ? size[rank - 1] : 1, sc = rank > 0 ? strides[rank - 1] : 0;
    const int64_t sa = rank > 0 ? strides[2 * rank - 1] : 0, sb = rank > 0 ? strides[3 * rank - 1] : 0;
    int64_t rows = 1, at[EI_MAX_RANK] = {0}, offsets[3] = {0};
    for (int64_t k = 0; k + 1 < rank; k++)
        rows *= size[k];
    for (int64_t row = 0; row < rows; row++) {
        const ei_u8 *chosen = condition + offsets[0];
        if (item == 1)
            EI_WHERE_ROW(ei_u8);
        else if (item == 4)
            EI_WHERE_ROW(ei_u32);
        else
            EI_WHERE_ROW(ei_u64);
        ei_next_row(rank, size, strides, 3, at, offsets);
    }
    return EI_OK;
}

/* Sums of floats are kept in double, so that they are as good as rounded once. */
#define EI_REDUCE_LOOP(expression)                                           \
    for (int64_t row = 0; row < rows; row++, from += n * inner)              \
        for (int64_t i = 0; i < inner; i++) {                                \
            wide_value p = from[i];                                          \
            for (int64_t k = 1; k < n; k++) {                                \
                const value q = from[k * inner + i];                         \
                p = (expression);                                            \
            }                                                                \
            to[row * inner + i] = (value)(mean ? p / (wide_value)n : p);     \
        }                                                                    \
    return 1

#define EI_REDUCE(name, memory, type, wide, add, multiply, least, greatest)                                      \
    static int name(int64_t operation, const memory *from, int64_t rows, int64_t n, int64_t inner, int mean,     \
                    memory *to)                                                                                  \
    {                                                                                                            \
        typedef type value;                                                                                      \
        typedef wide wide_value;                                                                                 \
        switch (operation) {                                                                                     \
        case EI_ADD: EI_REDUCE_LOOP(add);                                                                        \
        case EI_MUL: EI_REDUCE_LOOP(multiply);                                                                   \
        case EI_MIN: EI_REDUCE_LOOP(least);                                                                      \
        case EI_MAX: EI_REDUCE_LOOP(greatest);                                                                   \
        default: return 0;                                                                                       \
        }                                                                                                        \
    }

EI_REDUCE(ei_reduce_f32, ei_f32, float, double, p + q, p * q, EI_NAN_MIN(p, q), EI_NAN_MAX(p, q))
EI_REDUCE(ei_reduce_i32, ei_i32, int32_t, int32_t, (int32_t)((uint32_t)p + (uint32_t)q),
          (int32_t)((uint32_t)p * (uint32_t)q), EI_INT_MIN(p, q), EI_INT_MAX(p, q))
EI_REDUCE(ei_reduce_i64, ei_i64, int64_t, int64_t, (int64_t)((uint64_t)p + (uint64_t)q),
          (int64_t)((uint64_t)p * (uint64_t)q), EI_INT_MIN(p, q), EI_INT_MAX(p, q))

static EI_NOINLINE ei_status EI_FN(ei_reduce)(const ei_instr *instr, char *const *bases)
{
    const int64_t operation = instr->dim[0], dtype = instr->dim[1], rows = instr->dim[2], n = instr->dim[3];
    const int64_t inner = instr->dim[4];
    const int mean = instr->dim[5] != 0;
    const char *from = ei_in(instr, bases, 0);
    char *to = ei_out(instr, bases, 0);
    int known = 0;
    if (n < 1 || (mean && dtype != EI_F32))
        return EI_BAD_PROGRAM;
    if (dtype == EI_F32)
        known = ei_reduce_f32(operation, (const ei_f32 *)from, rows, n, inner, mean, (ei_f32 *)to);
    else if (dtype == EI_I32)
        known = ei_reduce_i32(operation, (const ei_i32 *)from, rows, n, inner, 0, (ei_i32 *)to);
    else if (dtype == EI_I64)
        known = ei_reduce_i64(operation, (const ei_i64 *)from, rows, n, inner, 0, (ei_i64 *)to);
    return known ? EI_OK : EI_BAD_PROGRAM;
}
