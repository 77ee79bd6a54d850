/* What LSTM, GRU and RNN share: the operands, the groups of their weights, the sums of x, the walk over batch and
 * time.
 *
 * A single step of a single row has a function of its own in each cell. It sums x itself and works out nothing that
 * it does not need: of a small cell's time a third went into arithmetic on sizes. All else has its x summed first. */

typedef struct ei_recurrent {
    int64_t steps, batch, inputs, hidden, directions, direction, padded;
    int reverse;
    const ei_f32 *x;
    const float *weights;
    float *zeros;   /* a row for initial states that are absent */
    float *h[2];    /* rows that take turns where there is no Y */
    float *c;       /* LSTM: the cell between steps; GRU, reset first: z */
    float *reset_h; /* GRU, reset first */
    float *ahead;   /* x sums of the next EI_STEPS_AHEAD steps */
    ei_f32 *y;
    const ei_f32 *h_initial, *c_initial;
    ei_f32 *h_final, *c_final;
} ei_recurrent;

/* A state that decays to 0 ends in subnormal numbers, where rounding may keep it for ever and each step takes up to
 * three times as long on Zen 5, far longer where the CPU traps. What is this small is taken for 0: products with
 * weights down to 2^-30 are still normal numbers. Applied where the state multiplies a gate, early in a step, it costs
 * no time; an RNN has no such place. */
EI_INLINE vf ei_flushed(vf state) { return vf_select_lt(vf_abs(state), vf_set1(0x1p-96f), vf_set1(0.0f), state); }

EI_INLINE int64_t ei_up_to_lanes(int64_t n) { return (int64_t)(((uint64_t)n + EI_LANES - 1) / EI_LANES * EI_LANES); }

EI_INLINE ei_recurrent ei_recurrent_from(const ei_instr *instr, char *const *bases)
{
    const int64_t hidden = instr->dim[3], padded = ei_up_to_lanes(hidden);
    float *const scratch = (float *)(void *)ei_in(instr, bases, 4);
    return (ei_recurrent){
        .steps = instr->dim[0],
        .batch = instr->dim[1],
        .inputs = instr->dim[2],
        .hidden = hidden,
        .directions = instr->dim[4],
        .direction = instr->dim[5],
        .padded = padded,
        .reverse = instr->dim[6] != 0,
        .x = (const ei_f32 *)ei_in(instr, bases, 0),
        .weights = (const float *)(const void *)ei_in(instr, bases, 1),
        .zeros = scratch,
        .h = {scratch + padded, scratch + 2 * padded},
        .c = scratch + 3 * padded,
        .reset_h = scratch + 4 * padded,
        .ahead = scratch + EI_SCRATCH_ROWS * padded,
        .y = (ei_f32 *)ei_out(instr, bases, 0),
        .h_initial = (const ei_f32 *)ei_in(instr, bases, 2),
        .c_initial = (const ei_f32 *)ei_in(instr, bases, 3),
        .h_final = (ei_f32 *)ei_out(instr, bases, 1),
        .c_final = (ei_f32 *)ei_out(instr, bases, 2),
    };
}

/* How the columns of some gates are grouped: blocks of `units` units, gate after gate, and the units left over with
 * their gates packed one after the other; where there is no block at all, on whole vectors. A group is its bias, then
 * F rows of W, then H rows of R. */
typedef struct ei_groups {
    int64_t blocks, left;
    int64_t vectors, bias_vectors;           /* of a block */
    int64_t left_vectors, left_bias_vectors; /* of the group of the units left over */
    int64_t block;                           /* floats from one block to the next */
} ei_groups;

EI_INLINE ei_groups ei_groups_of(int64_t inputs, int64_t hidden, int64_t units, int64_t gates, int64_t bias_gates,
                                 int64_t left_bias_rows)
{
    const int64_t left = (int64_t)((uint64_t)hidden % (uint64_t)units);
    ei_groups g = {.blocks = (int64_t)((uint64_t)hidden / (uint64_t)units), .left = left};
    const int64_t stride = g.blocks > 0 ? left : ei_up_to_lanes(left);
    g.vectors = gates * units / EI_LANES;
    g.bias_vectors = bias_gates * units / EI_LANES;
    g.left_vectors = ei_up_to_lanes(gates * stride) / EI_LANES;
    g.left_bias_vectors = left_bias_rows * g.left_vectors;
    g.block = (g.bias_vectors + (inputs + hidden) * g.vectors) * EI_LANES;
    return g;
}

/* Floats of the x sums of one step. */
EI_INLINE int64_t ei_sums_size(const ei_groups *g) { return (g->blocks * g->vectors + g->left_vectors) * EI_LANES; }

/* Floats of a section of the weights. */
EI_INLINE int64_t ei_section_size(const ei_groups *g, int64_t inputs, int64_t hidden)
{
    return g->blocks * g->block + (g->left_bias_vectors + (inputs + hidden) * g->left_vectors) * EI_LANES;
}

/* One group's x sums of many steps. w is at the group's bias; x and out of the next step are a stride further. */
EI_INLINE void ei_x_sums_group(const float *w, int64_t bias_vectors, const ei_f32 *x, int64_t x_stride,
                               int64_t inputs, int64_t steps, float *out, int64_t out_stride, int vectors)
{
    const ei_sums bias = ei_sums_load(w, vectors);
    w += bias_vectors * EI_LANES;
    for (; steps >= EI_TILE_ROWS; steps -= EI_TILE_ROWS) {
        const ei_tile t = ei_sums_tile(bias, x, x_stride, inputs, w, vectors, EI_TILE_ROWS, 2);
        ei_sums_store(out, t.a, vectors);
        if (EI_TILE_ROWS > 1)
            ei_sums_store(out + out_stride, t.b, vectors);
        if (EI_TILE_ROWS > 2)
            ei_sums_store(out + 2 * out_stride, t.c, vectors);
        if (EI_TILE_ROWS > 3)
            ei_sums_store(out + 3 * out_stride, t.d, vectors);
        x += EI_TILE_ROWS * x_stride;
        out += EI_TILE_ROWS * out_stride;
    }
    for (; steps > 0; steps--, x += x_stride, out += out_stride)
        ei_sums_store(out, ei_sums_two(bias, x, inputs, w, vectors), vectors);
}

static EI_NOINLINE void ei_x_sums_of(const float *w, int64_t bias_vectors, const ei_f32 *x, int64_t x_stride,
                                     int64_t inputs, int64_t steps, float *out, int64_t out_stride, int64_t vectors)
{
    switch (vectors) {
    case 1: ei_x_sums_group(w, bias_vectors, x, x_stride, inputs, steps, out, out_stride, 1); break;
    case 2: ei_x_sums_group(w, bias_vectors, x, x_stride, inputs, steps, out, out_stride, 2); break;
    case 3: ei_x_sums_group(w, bias_vectors, x, x_stride, inputs, steps, out, out_stride, 3); break;
    default: ei_x_sums_group(w, bias_vectors, x, x_stride, inputs, steps, out, out_stride, 4); break;
    }
}

/* The x sums of many steps, `out_stride` apart: what a single step would sum itself. */
static void ei_x_sums(const ei_groups *g, const float *w, const ei_f32 *x, int64_t x_stride, int64_t inputs,
                      int64_t steps, float *out, int64_t out_stride)
{
    for (int64_t k = 0; k < g->blocks; k++, w += g->block, out += g->vectors * EI_LANES)
        ei_x_sums_of(w, g->bias_vectors, x, x_stride, inputs, steps, out, out_stride, g->vectors);
    if (g->left > 0)
        ei_x_sums_of(w, g->left_bias_vectors, x, x_stride, inputs, steps, out, out_stride, g->left_vectors);
}

/* A group of weights, w at its bias, and the values that are multiplied with it. */
typedef struct ei_group {
    const float *w;
    int64_t bias_vectors, vectors, inputs, hidden;
    const ei_f32 *x;
    const float *x_sums; /* what was summed of x before, or NULL */
    const ei_f32 *h;
} ei_group;

EI_INLINE ei_sums ei_group_sums(ei_group g, int vectors)
{
    const float *w = g.w + g.bias_vectors * EI_LANES;
    const ei_sums s = g.x_sums != NULL ? ei_sums_load(g.x_sums, vectors)
                                       : ei_sums_two(ei_sums_load(g.w, vectors), g.x, g.inputs, w, vectors);
    return ei_sums_two(s, g.h, g.hidden, w + g.inputs * vectors * EI_LANES, vectors);
}

/* The sums of the units left over, gate after gate, zeros behind them up to four vectors. Groups of this kind are
 * handled out of line, so that what they need is not worked out for models that have none. */
static EI_NOINLINE void ei_left_sums(const ei_group *g, float *out)
{
    ei_sums_store(out, ei_sums_zero(), 4);
    switch (g->vectors) {
    case 1: ei_sums_store(out, ei_group_sums(*g, 1), 1); break;
    case 2: ei_sums_store(out, ei_group_sums(*g, 2), 2); break;
    case 3: ei_sums_store(out, ei_group_sums(*g, 3), 3); break;
    default: ei_sums_store(out, ei_group_sums(*g, 4), 4); break;
    }
}

/* Fewer than a vector's values are loaded with zeros behind them. n may exceed a vector. */
EI_INLINE vf ei_units_load(const ei_f32 *p, int64_t n)
{
    return n >= EI_LANES ? vf_loadu(p) : vf_load_part(p, n, vf_set1(0.0f));
}

EI_INLINE void ei_units_store(ei_f32 *p, vf v, int64_t n)
{
    if (n >= EI_LANES)
        vf_storeu(p, v);
    else
        vf_store_part(p, v, n);
}

/* Where a step's h goes: to the place that the next step reads, and to a second one or NULL. */
typedef struct ei_h_out {
    ei_f32 *h, *copy;
} ei_h_out;

EI_INLINE void ei_h_store(ei_h_out out, int64_t unit, vf v, int64_t n)
{
    ei_units_store(out.h + unit, v, n);
    if (out.copy != NULL)
        ei_units_store(out.copy + unit, v, n);
}

/* The blocks are walked in opposite directions by turns: the cache still holds the weights that the last walk ended
 * with, which is worth up to a third of the time where they do not all fit. The result does not depend on it. Single
 * steps keep nothing to count turns by, but their caller's two state banks change places. */
EI_INLINE int ei_backward_first(const ei_f32 *h_initial, const ei_f32 *h_final)
{
    return (uintptr_t)h_final > (uintptr_t)h_initial;
}

/* One step of one row: F, H, the weights, the values and where the results go. c is the LSTM's; z and reset_h are
 * rows for a reset-first GRU. c_next may be c. */
typedef struct ei_one {
    int64_t inputs, hidden;
    const float *weights;
    int backward;
    const ei_f32 *x;
    const float *x_sums; /* NULL: sum x */
    const ei_f32 *h, *c;
    ei_f32 *c_next;
    ei_h_out out;
    float *z, *reset_h;
} ei_one;

/* The initial state's row, zeros where it is absent. */
EI_INLINE const ei_f32 *ei_or_zeros(const ei_f32 *state, float *zeros, int64_t padded)
{
    if (state == NULL)
        memset(zeros, 0, (size_t)padded * sizeof *zeros);
    return state != NULL ? state : (const ei_f32 *)zeros;
}

/* A token's row of x sums, or NULL where it has none. at: which token. */
EI_INLINE const float *ei_gate_row(const ei_instr *instr, char *const *bases, int64_t at, int64_t sums)
{
    const int64_t token = ei_table_row(ei_in(instr, bases, 0), at, instr->dim[11], instr->dim[10]);
    return token < 0 ? NULL : (const float *)(const void *)ei_in(instr, bases, 5) + token * sums;
}

/* The instruction as a single step, which it must be: T and B are 1. sums: floats of a row of x sums. */
EI_INLINE ei_status ei_single_step(const ei_instr *instr, char *const *bases, int has_c, int64_t sums, ei_one *step)
{
    const int64_t hidden = instr->dim[3], padded = ei_up_to_lanes(hidden);
    float *const scratch = (float *)(void *)ei_in(instr, bases, 4);
    const int64_t row = instr->dim[5] * hidden; /* of this direction */
    const ei_f32 *h = (const ei_f32 *)ei_in(instr, bases, 2);
    const ei_f32 *c = has_c ? (const ei_f32 *)ei_in(instr, bases, 3) : NULL;
    ei_f32 *y = (ei_f32 *)ei_out(instr, bases, 0), *h_final = (ei_f32 *)ei_out(instr, bases, 1);
    ei_f32 *c_final = has_c ? (ei_f32 *)ei_out(instr, bases, 2) : NULL;
    ei_one one = {
        .x_sums = NULL,
        .inputs = instr->dim[2],
        .hidden = hidden,
        .weights = (const float *)(const void *)ei_in(instr, bases, 1),
        .backward = ei_backward_first(h, h_final),
        .x = (const ei_f32 *)ei_in(instr, bases, 0),
        .h = ei_or_zeros(h ? h + row : NULL, scratch, padded),
        .z = scratch + 3 * padded,
        .reset_h = scratch + 4 * padded,
    };
    if (has_c) {
        one.c = ei_or_zeros(c ? c + row : NULL, scratch, padded);
        one.c_next = c_final ? c_final + row : (ei_f32 *)one.z;
    }
    /* straight to Y and to Y_h: every copy between them would be waited for */
    one.out.h = y ? y + row : h_final ? h_final + row : (ei_f32 *)scratch + padded;
    one.out.copy = y && h_final ? h_final + row : NULL;
    if (instr->in_base[5] != EI_NO_BASE) {
        one.x_sums = ei_gate_row(instr, bases, 0, sums);
        if (one.x_sums == NULL)
            return EI_INDEX_OUT_OF_RANGE;
    }
    *step = one;
    return EI_OK;
}

/* What is walked of one batch row: `steps` steps, of which those count that the mask says, all where it is NULL. */
typedef struct ei_row {
    int64_t batch, first, turn; /* which row; the time of the first step, and how far it is to the next one's */
    int64_t steps, last;        /* `last`: through the last step that counts */
    int64_t state;              /* where the row's states are */
    const ei_u8 *mask;          /* of the first step */
    int64_t mask_turn;
    int zero_output, zero_before, zero_empty; /* Y where no step counts; before the first one that does; all of it and the final states */
} ei_row;

EI_INLINE ei_row ei_row_of(const ei_instr *instr, char *const *bases, const ei_recurrent *r, int64_t b)
{
    ei_row row = {.batch = b, .steps = r->steps, .state = (r->direction * r->batch + b) * r->hidden};
    if (instr->op == EI_OP_MASKED && instr->dim[15] == EI_STEPS_BY_LENGTH) {
        row.steps = ((const ei_i32 *)ei_in(instr, bases, 6))[b];
        row.zero_empty = row.steps == 0;
    }
    row.first = r->reverse ? row.steps - 1 : 0;
    row.turn = r->reverse ? -1 : 1;
    row.last = row.steps;
    if (instr->op == EI_OP_MASKED && instr->dim[15] == EI_STEPS_BY_MASK) {
        row.mask = (const ei_u8 *)ei_in(instr, bases, 6) + row.first * instr->dim[16] + b * instr->dim[17];
        row.mask_turn = row.turn * instr->dim[16];
        row.zero_output = instr->dim[18] != 0;
        row.zero_before = instr->dim[19] != 0;
        while (row.last > 0 && row.mask[(row.last - 1) * row.mask_turn] == 0)
            row.last--;
    }
    return row;
}

/* The first step from `step` on that does not count. */
EI_INLINE int64_t ei_row_run(const ei_row *row, int64_t step)
{
    if (row->mask == NULL)
        return row->last;
    while (step < row->last && row->mask[step * row->mask_turn] != 0)
        step++;
    return step;
}

/* The time index of a step. */
EI_INLINE int64_t ei_row_time(const ei_row *row, int64_t step) { return row->first + row->turn * step; }

EI_INLINE ei_f32 *ei_row_y(const ei_recurrent *r, const ei_row *row, int64_t time)
{
    return r->y + ((time * r->directions + r->direction) * r->batch + row->batch) * r->hidden;
}

/* Where the h of a step goes; h: where that of the step before it is. */
EI_INLINE ei_h_out ei_h_out_of(const ei_recurrent *r, const ei_row *row, int64_t step, const ei_f32 *h)
{
    ei_f32 *const final = step + 1 == row->last && r->h_final != NULL ? r->h_final + row->state : NULL;
    if (r->y != NULL)
        return (ei_h_out){ei_row_y(r, row, ei_row_time(row, step)), final};
    float *const next = r->h[h == (const ei_f32 *)r->h[0]];
    return (ei_h_out){final != NULL ? final : (ei_f32 *)next, NULL};
}

/* Y of a step that does not count. h: that of the last one that does; started: whether there is one. */
EI_INLINE void ei_row_hold(const ei_recurrent *r, const ei_row *row, int64_t step, const ei_f32 *h, int started)
{
    if (r->y == NULL)
        return;
    ei_f32 *const y = ei_row_y(r, row, ei_row_time(row, step));
    if (row->zero_output || (row->zero_before && !started))
        memset(y, 0, (size_t)r->hidden * sizeof *y);
    else
        memcpy(y, h, (size_t)r->hidden * sizeof *y);
}

/* What is left when all steps that count are walked. c: NULL for a cell without. */
static EI_NOINLINE void ei_row_end(const ei_recurrent *r, const ei_row *row, const ei_f32 *h, const ei_f32 *c)
{
    const size_t bytes = (size_t)r->hidden * sizeof *h;
    for (int64_t k = row->last; k < row->steps; k++)
        ei_row_hold(r, row, k, h, row->last > 0);
    for (int64_t time = row->steps; r->y != NULL && time < r->steps; time++)
        memset(ei_row_y(r, row, time), 0, bytes);
    if (row->last > 0)
        return;
    if (row->zero_empty) {
        memset(r->zeros, 0, bytes);
        h = (const ei_f32 *)r->zeros;
        c = c != NULL ? h : NULL;
    }
    if (r->h_final != NULL)
        memcpy(r->h_final + row->state, h, bytes);
    if (r->c_final != NULL && c != NULL)
        memcpy(r->c_final + row->state, c, bytes);
}

/* Runs `step` over the batch and over time. g: the sections of the weights. */
EI_INLINE ei_status ei_walk(const ei_instr *instr, char *const *bases, const ei_groups *g, int sections, int has_c,
                            void (*step)(const ei_instr *instr, const ei_one *one))
{
    const ei_recurrent r = ei_recurrent_from(instr, bases);
    const int has_rows = instr->in_base[5] != EI_NO_BASE;
    const int64_t stride = ei_sums_size(g) + (sections > 1 ? ei_sums_size(g + 1) : 0);
    const int64_t x_stride = (r.reverse ? -r.batch : r.batch) * r.inputs;
    ei_one one = {.inputs = r.inputs, .hidden = r.hidden, .weights = r.weights, .z = r.c, .reset_h = r.reset_h};
    one.backward = ei_backward_first(r.h_initial, r.h_final);
    for (int64_t at = 0; has_rows && at < r.steps * r.batch; at++)
        if (ei_gate_row(instr, bases, at, stride) == NULL)
            return EI_INDEX_OUT_OF_RANGE;
    for (int64_t b = 0; b < r.batch; b++) {
        const ei_row row = ei_row_of(instr, bases, &r, b);
        one.h = ei_or_zeros(r.h_initial ? r.h_initial + row.state : NULL, r.zeros, r.padded);
        if (has_c)
            one.c = ei_or_zeros(r.c_initial ? r.c_initial + row.state : NULL, r.zeros, r.padded);
        ei_f32 *const c_final = has_c && r.c_final ? r.c_final + row.state : NULL;
        for (int64_t k = 0, begin = 0, end = 0; k < row.last; k++) {
            if (k >= end) {
                begin = k;
                end = ei_row_run(&row, k);
            }
            if (begin == end) {
                ei_row_hold(&r, &row, k, one.h, one.out.h != NULL);
                continue;
            }
            const int64_t ahead = (k - begin) % EI_STEPS_AHEAD, left = end - k, time = ei_row_time(&row, k);
            if (!has_rows && ahead == 0) {
                const int64_t steps = left < EI_STEPS_AHEAD ? left : EI_STEPS_AHEAD;
                const ei_f32 *x = r.x + (time * r.batch + b) * r.inputs;
                ei_x_sums(g, r.weights, x, x_stride, r.inputs, steps, r.ahead, stride);
                if (sections > 1)
                    ei_x_sums(g + 1, r.weights + ei_section_size(g, r.inputs, r.hidden), x, x_stride, r.inputs, steps,
                              r.ahead + ei_sums_size(g), stride);
            }
            one.x_sums = r.ahead + ahead * stride;
            if (has_rows)
                one.x_sums = ei_gate_row(instr, bases, time * instr->dim[12] + b * instr->dim[13], stride);
            one.out = ei_h_out_of(&r, &row, k, one.h);
            one.c_next = k + 1 == row.last && c_final != NULL ? c_final : (ei_f32 *)r.c;
            step(instr, &one);
            one.backward = !one.backward;
            one.h = one.out.h;
            one.c = one.c_next;
        }
        ei_row_end(&r, &row, one.h, has_c ? one.c : NULL);
        one.out.h = NULL;
    }
    return EI_OK;
}

EI_INLINE int ei_is_single_step(const ei_instr *instr) { return instr->dim[0] == 1 && instr->dim[1] == 1; }
