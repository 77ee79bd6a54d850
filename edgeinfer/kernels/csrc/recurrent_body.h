/* What LSTM, GRU and RNN share: the operands, the rows of scratch, the walk over batch and time. */

typedef struct ei_recurrent {
    int64_t steps, batch, inputs, hidden, directions, direction, blocks, padded;
    int reverse;
    const ei_f32 *x;
    const float *weights;
    float *scratch;
    ei_f32 *y;
} ei_recurrent;

EI_INLINE ei_recurrent ei_recurrent_from(const ei_instr *instr, char *const *bases)
{
    const int64_t hidden = instr->dim[3], blocks = (hidden + EI_LANES - 1) / EI_LANES;
    return (ei_recurrent){
        .steps = instr->dim[0],
        .batch = instr->dim[1],
        .inputs = instr->dim[2],
        .hidden = hidden,
        .directions = instr->dim[4],
        .direction = instr->dim[5],
        .blocks = blocks,
        .padded = blocks * EI_LANES,
        .reverse = instr->dim[6] != 0,
        .x = (const ei_f32 *)ei_in(instr, bases, 0),
        .weights = (const float *)(const void *)ei_in(instr, bases, 1),
        .scratch = (float *)(void *)ei_in(instr, bases, 4),
        .y = (ei_f32 *)ei_out(instr, bases, 0),
    };
}

/* The row of batch b in a state [D, B, H]. */
EI_INLINE int64_t ei_state_row(const ei_recurrent *r, int64_t b) { return (r->direction * r->batch + b) * r->hidden; }

/* The time index of the step-th step. */
EI_INLINE int64_t ei_time(const ei_recurrent *r, int64_t step) { return r->reverse ? r->steps - 1 - step : step; }

EI_INLINE const ei_f32 *ei_x_row(const ei_recurrent *r, int64_t time, int64_t b)
{
    return r->x + (time * r->batch + b) * r->inputs;
}

/* The blocks are walked in opposite directions by turns: the cache still holds the weights that the last walk ended
 * with, which is worth up to a third of the time where they do not all fit. The result does not depend on it. Single
 * steps keep nothing to count turns by, but their caller's two state banks change places. */
EI_INLINE int ei_backward_first(const ei_f32 *h_initial, const ei_f32 *h_final)
{
    return (uintptr_t)h_final > (uintptr_t)h_initial;
}

/* A state into scratch, whole vectors, zeros past its end and where it is absent. */
EI_INLINE void ei_state_read(float *row, const ei_f32 *state, int64_t n)
{
    const vf zero = vf_set1(0.0f);
    int64_t k = 0;
    if (state == NULL) {
        for (; k < n; k += EI_LANES)
            vf_store(row + k, zero);
        return;
    }
    for (; k + EI_LANES <= n; k += EI_LANES)
        vf_store(row + k, vf_loadu(state + k));
    if (k < n)
        vf_store(row + k, vf_load_part(state + k, n - k, zero));
}

EI_INLINE void ei_row_write(ei_f32 *out, const float *row, int64_t n)
{
    int64_t k = 0;
    for (; k + EI_LANES <= n; k += EI_LANES)
        vf_storeu(out + k, vf_load(row + k));
    if (k < n)
        vf_store_part(out + k, vf_load(row + k), n - k);
}

EI_INLINE void ei_y_write(const ei_recurrent *r, int64_t time, int64_t b, const float *h)
{
    if (r->y != NULL) {
        const int64_t row = (time * r->directions + r->direction) * r->batch + b;
        ei_row_write(r->y + row * r->hidden, h, r->hidden);
    }
}
