/* Unary functions, and binary ones with broadcasting. */

/* act k over x[0..n), in place allowed; the last vector is padded, so that every element takes the same path. */
static void ei_unary_row(const ei_instr *instr, int k, const ei_f32 *x, ei_f32 *out, int64_t n)
{
    int64_t i = 0;
    for (; i + EI_LANES <= n; i += EI_LANES)
        vf_storeu(out + i, ei_activate(instr, k, vf_loadu(x + i)));
    if (i < n)
        vf_store_part(out + i, ei_activate(instr, k, vf_load_part(x + i, n - i, vf_set1(0.0f))), n - i);
}

static EI_NOINLINE ei_status EI_FN(ei_unary_f32)(const ei_instr *instr, char *const *bases)
{
    if (!ei_acts_known(instr, 1))
        return EI_BAD_PROGRAM;
    ei_unary_row(instr, 0, (const ei_f32 *)ei_in(instr, bases, 0), (ei_f32 *)ei_out(instr, bases, 0), instr->dim[0]);
    return EI_OK;
}

/* NaN in either operand gives NaN. */
#define EI_NAN_MIN(p, q) ((p) < (q) || (p) != (p) ? (p) : (q))
#define EI_NAN_MAX(p, q) ((p) > (q) || (p) != (p) ? (p) : (q))
#define EI_INT_MIN(p, q) ((p) < (q) ? (p) : (q))
#define EI_INT_MAX(p, q) ((p) > (q) ? (p) : (q))

/* A quotient by 0 is 0; the smallest integer by -1 wraps to itself. */
EI_INLINE int32_t ei_divide_i32(int32_t p, int32_t q)
{
    if (q == 0)
        return 0;
    return q == -1 ? (int32_t)(0u - (uint32_t)p) : p / q;
}

EI_INLINE int64_t ei_divide_i64(int64_t p, int64_t q)
{
    if (q == 0)
        return 0;
    return q == -1 ? (int64_t)(UINT64_C(0) - (uint64_t)p) : p / q;
}

/* The compiler makes vectors of the loops with constant strides; every lane's result is exactly rounded. */
#define EI_BINARY_LOOP(expression)            \
    do {                                      \
        if (sa == 1 && sb == 1)               \
            for (int64_t i = 0; i < n; i++) { \
                p = a[i];                     \
                q = b[i];                     \
                out[i] = (expression);        \
            }                                 \
        else                                  \
            for (int64_t i = 0; i < n; i++) { \
                p = a[i * sa];                \
                q = b[i * sb];                \
                out[i] = (expression);        \
            }                                 \
    } while (0)

#define EI_BINARY_ROW(name, memory, value, add, subtract, multiply, divide, minimum, maximum)                 \
    static int name(int64_t operation, const memory *a, int64_t sa, const memory *b, int64_t sb, memory *out, \
                    int64_t n)                                                                                \
    {                                                                                                         \
        value p, q;                                                                                           \
        switch (operation) {                                                                                  \
        case EI_ADD: EI_BINARY_LOOP(add); return 1;                                                           \
        case EI_SUB: EI_BINARY_LOOP(subtract); return 1;                                                      \
        case EI_MUL: EI_BINARY_LOOP(multiply); return 1;                                                      \
        case EI_DIV: EI_BINARY_LOOP(divide); return 1;                                                        \
        case EI_MIN: EI_BINARY_LOOP(minimum); return 1;                                                       \
        case EI_MAX: EI_BINARY_LOOP(maximum); return 1;                                                       \
        default: return 0;                                                                                    \
        }                                                                                                     \
    }

EI_BINARY_ROW(ei_binary_row_f32, ei_f32, float, p + q, p - q, (p * q), p / q, EI_NAN_MIN(p, q), EI_NAN_MAX(p, q))
/* Integers wrap, as NumPy's do. */
EI_BINARY_ROW(ei_binary_row_i32, ei_i32, int32_t, (int32_t)((uint32_t)p + (uint32_t)q),
              (int32_t)((uint32_t)p - (uint32_t)q), (int32_t)((uint32_t)p * (uint32_t)q), ei_divide_i32(p, q),
              EI_INT_MIN(p, q), EI_INT_MAX(p, q))
EI_BINARY_ROW(ei_binary_row_i64, ei_i64, int64_t, (int64_t)((uint64_t)p + (uint64_t)q),
              (int64_t)((uint64_t)p - (uint64_t)q), (int64_t)((uint64_t)p * (uint64_t)q), ei_divide_i64(p, q),
              EI_INT_MIN(p, q), EI_INT_MAX(p, q))

static EI_NOINLINE ei_status EI_FN(ei_binary)(const ei_instr *instr, char *const *bases)
{
    const int64_t operation = instr->dim[0], dtype = instr->dim[1], rank = instr->dim[2];
    if (rank < 0 || rank > EI_MAX_RANK || !ei_acts_known(instr, 1))
        return EI_BAD_PROGRAM;
    if (dtype != EI_F32 && (instr->act[0] != EI_ACT_LINEAR || (dtype != EI_I32 && dtype != EI_I64)))
        return EI_BAD_PROGRAM;
    const int64_t *size = instr->dim + 3, *a_stride = size + rank, *b_stride = a_stride + rank;
    const char *a = ei_in(instr, bases, 0), *b = ei_in(instr, bases, 1);
    char *out = ei_out(instr, bases, 0);
    const int64_t item = dtype == EI_I64 ? 8 : 4, inner = rank > 0 ? size[rank - 1] : 1;
    const int64_t sa = rank > 0 ? a_stride[rank - 1] : 0, sb = rank > 0 ? b_stride[rank - 1] : 0;
    int64_t rows = 1, at[EI_MAX_RANK] = {0}, a_at = 0, b_at = 0;
    for (int64_t k = 0; k + 1 < rank; k++)
        rows *= size[k];
    for (int64_t row = 0; row < rows; row++) {
        const char *ra = a + a_at * item, *rb = b + b_at * item;
        char *ro = out + row * inner * item;
        int known;
        if (dtype == EI_F32)
            known = ei_binary_row_f32(operation, (const ei_f32 *)ra, sa, (const ei_f32 *)rb, sb, (ei_f32 *)ro, inner);
        else if (dtype == EI_I32)
            known = ei_binary_row_i32(operation, (const ei_i32 *)ra, sa, (const ei_i32 *)rb, sb, (ei_i32 *)ro, inner);
        else
            known = ei_binary_row_i64(operation, (const ei_i64 *)ra, sa, (const ei_i64 *)rb, sb, (ei_i64 *)ro, inner);
        if (!known)
            return EI_BAD_PROGRAM;
        for (int64_t k = rank - 2; k >= 0; k--) {
            a_at += a_stride[k];
            b_at += b_stride[k];
            if (++at[k] < size[k])
                break;
            a_at -= size[k] * a_stride[k];
            b_at -= size[k] * b_stride[k];
            at[k] = 0;
        }
    }
    if (instr->act[0] != EI_ACT_LINEAR)
        ei_unary_row(instr, 0, (const ei_f32 *)out, (ei_f32 *)out, rows * inner);
    return EI_OK;
}
