/* Gather along the first axis: rows of a table by index. */

static EI_NOINLINE ei_status EI_FN(ei_gather)(const ei_instr *instr, char *const *bases)
{
    const int64_t count = instr->dim[0], rows = instr->dim[1], dtype = instr->dim[3];
    const size_t row_bytes = (size_t)instr->dim[2];
    const char *table = ei_in(instr, bases, 0), *indices = ei_in(instr, bases, 1);
    char *out = ei_out(instr, bases, 0);
    if (dtype != EI_I32 && dtype != EI_I64)
        return EI_BAD_PROGRAM;
    if (EI_CANARY("gather reads past its table"))
        (void)*(const volatile char *)(table + (size_t)rows * row_bytes);
    if (EI_CANARY("gather overflows")) {
        volatile int64_t most = INT64_MAX;
        most = most + count;
    }
    for (int64_t i = 0; i < count; i++) {
        const int64_t row = ei_table_row(indices, i, dtype, rows + EI_CANARY("one row more"));
        if (row < 0)
            return EI_INDEX_OUT_OF_RANGE;
        memcpy(out + (size_t)i * row_bytes, table + (size_t)row * row_bytes, row_bytes);
    }
    return EI_OK;
}
