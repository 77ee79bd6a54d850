/* Copies between strided arrays, and casts. */

#define EI_COPY_ROW(name, type)                                                                        \
    EI_INLINE void name(const char *from, int64_t from_stride, char *to, int64_t to_stride, int64_t n) \
    {                                                                                                  \
        const type *source = (const type *)from;                                                       \
        type *destination = (type *)to;                                                                \
        for (int64_t i = 0; i < n; i++)                                                                \
            destination[i * to_stride] = source[i * from_stride];                                      \
    }

EI_COPY_ROW(ei_copy_row_1, ei_u8)
EI_COPY_ROW(ei_copy_row_2, ei_u16)
EI_COPY_ROW(ei_copy_row_4, ei_u32)
EI_COPY_ROW(ei_copy_row_8, ei_u64)

static EI_NOINLINE ei_status EI_FN(ei_copy)(const ei_instr *instr, char *const *bases)
{
    const int64_t item = instr->dim[0], rank = instr->dim[1];
    if (rank < 0 || rank > EI_MAX_RANK || (item != 1 && item != 2 && item != 4 && item != 8))
        return EI_BAD_PROGRAM;
    const int64_t *size = instr->dim + 2, *from_stride = size + rank, *to_stride = from_stride + rank;
    const char *from = ei_in(instr, bases, 0);
    char *to = ei_out(instr, bases, 0);
    const int64_t inner = rank > 0 ? size[rank - 1] : 1;
    const int64_t from_inner = rank > 0 ? from_stride[rank - 1] : 1, to_inner = rank > 0 ? to_stride[rank - 1] : 1;
    int64_t rows = inner > 0 ? 1 : 0, at[EI_MAX_RANK] = {0};
    for (int64_t k = 0; k + 1 < rank; k++)
        rows *= size[k];
    for (int64_t row = 0; row < rows; row++) {
        if (from_inner == 1 && to_inner == 1)
            memcpy(to, from, (size_t)(inner * item));
        else if (item == 1)
            ei_copy_row_1(from, from_inner, to, to_inner, inner);
        else if (item == 2)
            ei_copy_row_2(from, from_inner, to, to_inner, inner);
        else if (item == 4)
            ei_copy_row_4(from, from_inner, to, to_inner, inner);
        else
            ei_copy_row_8(from, from_inner, to, to_inner, inner);
        for (int64_t k = rank - 2; k >= 0; k--) {
            from += from_stride[k] * item;
            to += to_stride[k] * item;
            if (++at[k] < size[k])
                break;
            from -= size[k] * from_stride[k] * item;
            to -= size[k] * to_stride[k] * item;
            at[k] = 0;
        }
    }
    return EI_OK;
}

EI_INLINE int32_t ei_i32_from_f32(float x)
{
    return x >= -2147483648.0f && x < 2147483648.0f ? (int32_t)x : INT32_MIN;
}

EI_INLINE int64_t ei_i64_from_f32(float x)
{
    return x >= -9223372036854775808.0f && x < 9223372036854775808.0f ? (int64_t)x : INT64_MIN;
}

#define EI_CAST_LOOP(from_type, to_type, convert)          \
    do {                                                   \
        const from_type *source = (const from_type *)from; \
        to_type *destination = (to_type *)to;              \
        for (int64_t i = 0; i < count; i++)                \
            destination[i] = convert(source[i]);           \
        return EI_OK;                                      \
    } while (0)

static EI_NOINLINE ei_status EI_FN(ei_cast)(const ei_instr *instr, char *const *bases)
{
    const int64_t count = instr->dim[0], from_dtype = instr->dim[1], to_dtype = instr->dim[2];
    const char *from = ei_in(instr, bases, 0);
    char *to = ei_out(instr, bases, 0);
    if (from_dtype == EI_F32 && to_dtype == EI_I32)
        EI_CAST_LOOP(ei_f32, ei_i32, ei_i32_from_f32);
    if (from_dtype == EI_F32 && to_dtype == EI_I64)
        EI_CAST_LOOP(ei_f32, ei_i64, ei_i64_from_f32);
    if (from_dtype == EI_I32 && to_dtype == EI_F32)
        EI_CAST_LOOP(ei_i32, ei_f32, (float));
    if (from_dtype == EI_I64 && to_dtype == EI_F32)
        EI_CAST_LOOP(ei_i64, ei_f32, (float));
    if (from_dtype == EI_I32 && to_dtype == EI_I64)
        EI_CAST_LOOP(ei_i32, ei_i64, (int64_t));
    if (from_dtype == EI_I64 && to_dtype == EI_I32)
        EI_CAST_LOOP(ei_i64, ei_i32, (int32_t)(uint32_t)(uint64_t));
    if (to_dtype == EI_BOOL && from_dtype == EI_F32)
        EI_CAST_LOOP(ei_f32, ei_u8, 0 !=);
    if (to_dtype == EI_BOOL && from_dtype == EI_I32)
        EI_CAST_LOOP(ei_i32, ei_u8, 0 !=);
    if (to_dtype == EI_BOOL && from_dtype == EI_I64)
        EI_CAST_LOOP(ei_i64, ei_u8, 0 !=);
    if (from_dtype == EI_BOOL && to_dtype == EI_F32)
        EI_CAST_LOOP(ei_u8, ei_f32, 0 !=);
    if (from_dtype == EI_BOOL && to_dtype == EI_I32)
        EI_CAST_LOOP(ei_u8, ei_i32, 0 !=);
    if (from_dtype == EI_BOOL && to_dtype == EI_I64)
        EI_CAST_LOOP(ei_u8, ei_i64, 0 !=);
    if (from_dtype != to_dtype || from_dtype < EI_F32 || from_dtype > EI_BOOL)
        return EI_BAD_PROGRAM;
    if (count > 0)
        memcpy(to, from, (size_t)count * (from_dtype == EI_BOOL ? 1 : from_dtype == EI_I64 ? 8 : 4));
    return EI_OK;
}
