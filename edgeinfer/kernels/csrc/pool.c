#include "core.h"

/* The bases of one row. */
static void ei_pool_bases(char **bases, const ei_pool *pool, size_t place, int64_t slot, char *x, char *y)
{
    char *const banks = pool->states + 2 * slot * pool->bank;
    const int64_t live = pool->live[slot];
    bases[0] = pool->weights;
    bases[1] = pool->constants;
    bases[2] = pool->arenas + (int64_t)place * pool->arena_stride;
    bases[3] = banks + live * pool->bank;
    bases[4] = banks + (1 - live) * pool->bank;
    bases[5] = x;
    bases[6] = y;
}

ei_status ei_run_pool(const ei_core *core, const ei_instr *code, size_t count, const ei_pool *pool,
                      const int64_t *slots, size_t n, char *x, char *y, size_t *failed_row, size_t *failed)
{
    char *bases[EI_POOL_ROWS][EI_POOL_BASES];
    char *const *rows[EI_POOL_ROWS];
    for (size_t first = 0; first < n; first += EI_POOL_ROWS) {
        const size_t many = n - first < EI_POOL_ROWS ? n - first : EI_POOL_ROWS;
        for (size_t row = 0; row < many; row++) {
            const int64_t at = (int64_t)(first + row);
            ei_pool_bases(bases[row], pool, row, slots[at], x + at * pool->x_stride, y + at * pool->y_stride);
            rows[row] = bases[row];
        }
        const ei_status status = core->run_rows(code, count, rows, many, failed, failed_row);
        if (status != EI_OK) {
            *failed_row += first;
            return status;
        }
    }
    for (size_t row = 0; row < n; row++)
        pool->live[slots[row]] ^= 1;
    return EI_OK;
}
