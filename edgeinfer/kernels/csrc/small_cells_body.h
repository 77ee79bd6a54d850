/* LSTM, GRU, RNN, Dense and Gather with small weights: the groups and the units' arithmetic are those of lstm_body.h,
 * gru_body.h and rnn_body.h, the sums those of small_body.h. */

EI_SMALL_SUMS(ei_sums_f16_1, EI_WEIGHTS_F16, 1)
EI_SMALL_SUMS(ei_sums_f16_2, EI_WEIGHTS_F16, 2)
EI_SMALL_SUMS(ei_sums_f16_3, EI_WEIGHTS_F16, 3)
EI_SMALL_SUMS(ei_sums_f16_4, EI_WEIGHTS_F16, 4)
EI_SMALL_SUMS(ei_sums_i8_1, EI_WEIGHTS_I8, 1)
EI_SMALL_SUMS(ei_sums_i8_2, EI_WEIGHTS_I8, 2)
EI_SMALL_SUMS(ei_sums_i8_3, EI_WEIGHTS_I8, 3)
EI_SMALL_SUMS(ei_sums_i8_4, EI_WEIGHTS_I8, 4)

static const ei_small_kernels EI_FN(ei_small_f16) = {
    {EI_FN(ei_sums_f16_1), EI_FN(ei_sums_f16_2), EI_FN(ei_sums_f16_3), EI_FN(ei_sums_f16_4)},
    NULL,
    NULL,
};
static const ei_small_kernels EI_FN(ei_small_i8) = {
    {EI_FN(ei_sums_i8_1), EI_FN(ei_sums_i8_2), EI_FN(ei_sums_i8_3), EI_FN(ei_sums_i8_4)},
    NULL,
    NULL,
};

/* How the columns of some gates are grouped, as core.h says, and where the groups are. */
typedef struct ei_small_section {
    int64_t units, blocks, left, vectors, left_vectors;
    const char *weights;
    int64_t block; /* bytes from one block to the next */
} ei_small_section;

/* A node with small weights at one step. sums: of one group, and of a GRU with linear_before_reset those of x apart.
 */
typedef struct ei_small {
    ei_one one;
    ei_small_call call;
    const ei_small_kernels *kernels;
    int64_t kind;
    ei_small_section sections[2];
    int8_t *q;
    float *sums;
} ei_small;

EI_INLINE int64_t ei_small_group_bytes(int64_t kind, int64_t vectors, int64_t biases, int64_t inputs, int64_t hidden)
{
    const int64_t scales = kind == EI_WEIGHTS_F16 ? 0 : kind == EI_WEIGHTS_I8 ? 2 : 3;
    const int64_t row = vectors * EI_LANES * (kind == EI_WEIGHTS_F16 ? 2 : 1);
    const int64_t r =
        kind == EI_WEIGHTS_I8_FAST ? ei_quads(hidden) * vectors * EI_VECTOR_BYTES : ei_whole_vectors(hidden * row);
    return (biases + scales * vectors) * EI_VECTOR_BYTES + ei_whole_vectors(inputs * row) + r;
}

EI_INLINE ei_small_section ei_small_section_of(const ei_instr *instr, int64_t kind, const char *weights,
                                               int64_t units, int64_t gates, int64_t biases)
{
    const int64_t inputs = instr->dim[2], hidden = instr->dim[3];
    ei_small_section s = {.units = units, .weights = weights, .vectors = gates * units / EI_LANES};
    s.blocks = (int64_t)((uint64_t)hidden / (uint64_t)units);
    s.left = hidden - s.blocks * units;
    s.block = ei_small_group_bytes(kind, s.vectors, biases * units / EI_LANES, inputs, hidden);
    s.left_vectors = ei_up_to_lanes(gates * s.left) / EI_LANES;
    return s;
}

EI_INLINE const ei_small_kernels *ei_small_kernels_of(const ei_instr *instr, int64_t kind)
{
    switch (kind) {
    case EI_WEIGHTS_F16: return &EI_FN(ei_small_f16);
    case EI_WEIGHTS_I8: return &EI_FN(ei_small_i8);
    case EI_WEIGHTS_I8_FAST: return EI_SMALL_FAST(instr);
    default: return NULL;
    }
}

EI_INLINE int64_t ei_small_groups(const ei_small_section *s) { return s->blocks + (s->left > 0); }

/* One group: its first unit, and how many it has, which is how far apart the gates are in its sums, s->sums. */
typedef struct ei_small_units {
    int64_t unit, count;
} ei_small_units;

/* The k-th group, counted from the end that this step begins with. */
EI_INLINE ei_small_units ei_small_group(ei_small *s, const ei_small_section *g, int64_t k, int apart)
{
    const int64_t at = s->one.backward ? ei_small_groups(g) - 1 - k : k;
    const int whole = at < g->blocks;
    const int64_t count = whole ? g->units : g->left, vectors = whole ? g->vectors : g->left_vectors;
    s->call.apart = apart ? count : 0;
    s->kernels->sums[vectors - 1](&s->call, g->weights + at * g->block, s->sums);
    return (ei_small_units){at * g->units, count};
}

EI_INLINE vf ei_small_at(const float *sums, int64_t offset) { return vf_loadu((const ei_f32 *)sums + offset); }

/* h for the next sums, rounded where the arithmetic asks for it. Returns whether it holds a NaN that q cannot. */
EI_INLINE int ei_small_take_h(ei_small *s, const ei_f32 *h)
{
    s->call.h = h;
    return s->kernels->round_h != NULL && s->kernels->round_h(h, s->one.hidden, s->q);
}

EI_INLINE void ei_small_nan(ei_f32 *out, int64_t n)
{
    for (int64_t k = 0; out != NULL && k < n; k += EI_LANES)
        ei_units_store(out + k, vf_set1(NAN), n - k);
}

EI_INLINE void ei_small_lstm_group(ei_small *s, const ei_instr *instr, int standard, int64_t k)
{
    const ei_small_units u = ei_small_group(s, s->sections, k, 0);
    const ei_sums sums = {ei_small_at(s->sums, 0), ei_small_at(s->sums, u.count), ei_small_at(s->sums, 2 * u.count),
                          ei_small_at(s->sums, 3 * u.count)};
    ei_lstm_units(instr, standard, sums, &s->one, u.unit, u.count);
}

EI_INLINE void ei_small_gru_linear(ei_small *s, const ei_instr *instr)
{
    const int64_t groups = ei_small_groups(s->sections);
    for (int64_t k = 0; k < groups; k++) {
        const ei_small_units u = ei_small_group(s, s->sections, k, 1);
        const vf n_x = ei_small_at(s->sums, 4 * EI_LANES + 2 * u.count);
        const ei_sums sums = {ei_small_at(s->sums, 0), ei_small_at(s->sums, u.count),
                              ei_small_at(s->sums, 2 * u.count), n_x};
        ei_gru_units_linear(instr, sums, n_x, &s->one, u.unit, u.count);
    }
}

/* Returns whether r*h holds a NaN. */
EI_INLINE int ei_small_gru_reset_first(ei_small *s, const ei_instr *instr)
{
    const int64_t zr_groups = ei_small_groups(s->sections), n_groups = ei_small_groups(s->sections + 1);
    for (int64_t k = 0; k < zr_groups; k++) {
        const ei_small_units u = ei_small_group(s, s->sections, k, 0);
        for (int64_t i = 0; i < u.count; i += EI_LANES)
            ei_gru_units_zr(instr, ei_small_at(s->sums, i), ei_small_at(s->sums, u.count + i), &s->one, u.unit + i,
                            u.count - i);
    }
    if (ei_small_take_h(s, (const ei_f32 *)s->one.reset_h))
        return 1;
    for (int64_t k = 0; k < n_groups; k++) {
        const ei_small_units u = ei_small_group(s, s->sections + 1, k, 0);
        for (int64_t i = 0; i < u.count; i += EI_LANES)
            ei_gru_units_n(instr, ei_small_at(s->sums, i), &s->one, u.unit + i, u.count - i);
    }
    return 0;
}

EI_INLINE void ei_small_rnn_step(ei_small *s, const ei_instr *instr)
{
    const int64_t groups = ei_small_groups(s->sections);
    for (int64_t k = 0; k < groups; k++) {
        const ei_small_units u = ei_small_group(s, s->sections, k, 0);
        for (int64_t i = 0; i < u.count; i += EI_LANES)
            ei_h_store(s->one.out, u.unit + i, ei_flushed(ei_activate(instr, 0, ei_small_at(s->sums, i))),
                       u.count - i);
    }
}

/* Whether r*h or, before any sum, h holds a NaN: then all units are NaN. */
static EI_NOINLINE void EI_FN(ei_small_all_nan)(const ei_one *one)
{
    ei_small_nan(one->c_next, one->hidden);
    ei_small_nan(one->out.h, one->hidden);
    ei_small_nan(one->out.copy, one->hidden);
}

/* One step of each cell; all else is shared, so that it is there once. */
static EI_NOINLINE void EI_FN(ei_small_lstm_other)(ei_small *s, const ei_instr *instr)
{
    const int64_t groups = ei_small_groups(s->sections);
    if (ei_small_take_h(s, s->one.h))
        EI_FN(ei_small_all_nan)(&s->one);
    else
        for (int64_t k = 0; k < groups; k++)
            ei_small_lstm_group(s, instr, 0, k);
}

static EI_NOINLINE void EI_FN(ei_small_lstm)(ei_small *s, const ei_instr *instr)
{
    const ei_small_section *g = s->sections;
    s->call.h = s->one.h;
    if (s->kernels->lstm_blocks == NULL) {
        const int64_t groups = ei_small_groups(g);
        for (int64_t k = 0; k < groups; k++)
            ei_small_lstm_group(s, instr, 1, k);
        return;
    }
    s->call.c = s->one.c;
    s->call.c_next = s->one.c_next;
    s->call.h_next = s->one.out.h;
    s->call.h_copy = s->one.out.copy;
    if (s->kernels->lstm_blocks(&s->call, g->weights, g->block, g->blocks, s->one.backward))
        EI_FN(ei_small_all_nan)(&s->one);
    else if (g->left > 0)
        ei_small_lstm_group(s, instr, 1, s->one.backward ? 0 : g->blocks);
}

static EI_NOINLINE void EI_FN(ei_small_gru)(ei_small *s, const ei_instr *instr)
{
    if (ei_small_take_h(s, s->one.h) || ei_small_gru_reset_first(s, instr))
        EI_FN(ei_small_all_nan)(&s->one);
}

static EI_NOINLINE void EI_FN(ei_small_gru_before)(ei_small *s, const ei_instr *instr)
{
    if (ei_small_take_h(s, s->one.h))
        EI_FN(ei_small_all_nan)(&s->one);
    else
        ei_small_gru_linear(s, instr);
}

static EI_NOINLINE void EI_FN(ei_small_rnn)(ei_small *s, const ei_instr *instr)
{
    if (ei_small_take_h(s, s->one.h))
        EI_FN(ei_small_all_nan)(&s->one);
    else
        ei_small_rnn_step(s, instr);
}

typedef void (*ei_small_step)(ei_small *s, const ei_instr *instr);

/* Over the batch and over time. */
static EI_NOINLINE void EI_FN(ei_small_walk)(ei_small *s, const ei_instr *instr, char *const *bases, int has_c,
                                             ei_small_step step)
{
    const ei_recurrent r = ei_recurrent_from(instr, bases);
    ei_one *one = &s->one;
    *one = (ei_one){.inputs = r.inputs, .hidden = r.hidden, .z = r.c, .reset_h = r.reset_h};
    one->backward = ei_backward_first(r.h_initial, r.h_final);
    for (int64_t b = 0; b < r.batch; b++) {
        const ei_row row = ei_row_of(instr, bases, &r, b);
        one->h = ei_or_zeros(r.h_initial ? r.h_initial + row.state : NULL, r.zeros, r.padded);
        if (has_c)
            one->c = ei_or_zeros(r.c_initial ? r.c_initial + row.state : NULL, r.zeros, r.padded);
        ei_f32 *const c_final = has_c && r.c_final ? r.c_final + row.state : NULL;
        int started = 0;
        for (int64_t k = 0; k < row.last; k++) {
            if (ei_row_run(&row, k) == k) {
                ei_row_hold(&r, &row, k, one->h, started);
                continue;
            }
            started = 1;
            s->call.x = r.x + (ei_row_time(&row, k) * r.batch + b) * r.inputs;
            one->out = ei_h_out_of(&r, &row, k, one->h);
            if (has_c)
                one->c_next = k + 1 == row.last && c_final != NULL ? c_final : (ei_f32 *)r.c;
            step(s, instr);
            one->backward = !one->backward;
            one->h = one->out.h;
            one->c = one->c_next;
        }
        ei_row_end(&r, &row, one->h, has_c ? one->c : NULL);
    }
}

/* op: that of the instruction, or where it is an EI_OP_MASKED that of its cell. */
static EI_NOINLINE ei_status EI_FN(ei_recurrent_small)(int64_t op, const ei_instr *instr, char *const *bases)
{
    /* one group's sums, those of x apart, and what a vector may read behind them */
    _Alignas(EI_ALIGN) float sums[9 * EI_LANES];
    const int64_t kind = instr->dim[8], hidden = instr->dim[3];
    const int lstm = op == EI_OP_LSTM_SMALL, gru = op == EI_OP_GRU_SMALL;
    const char *weights = ei_in(instr, bases, 1);
    float *const scratch = (float *)(void *)ei_in(instr, bases, 4);
    int8_t *const q = (int8_t *)(scratch + EI_SCRATCH_ROWS * ei_up_to_lanes(hidden));
    ei_small s = {.kind = kind, .kernels = ei_small_kernels_of(instr, kind), .sums = sums, .q = q};
    if (s.kernels == NULL || !ei_acts_known(instr, lstm ? 3 : gru ? 2 : 1))
        return EI_BAD_PROGRAM;
    s.call = (ei_small_call){.inputs = instr->dim[2], .hidden = hidden, .q = q};
    ei_small_section *g = s.sections;
    ei_small_step step;
    if (lstm) {
        g[0] = ei_small_section_of(instr, kind, weights, EI_LANES, 4, 4);
        step = ei_lstm_is_standard(instr) ? EI_FN(ei_small_lstm) : EI_FN(ei_small_lstm_other);
    } else if (gru && instr->dim[7] != 0) {
        g[0] = ei_small_section_of(instr, kind, weights, EI_LANES, 3, 4);
        step = EI_FN(ei_small_gru_before);
    } else if (gru) {
        g[0] = ei_small_section_of(instr, kind, weights, 2 * EI_LANES, 2, 2);
        weights += g[0].blocks * g[0].block;
        if (g[0].left > 0)
            weights += ei_small_group_bytes(kind, g[0].left_vectors, g[0].left_vectors, instr->dim[2], hidden);
        g[1] = ei_small_section_of(instr, kind, weights, 4 * EI_LANES, 1, 1);
        step = EI_FN(ei_small_gru);
    } else {
        g[0] = ei_small_section_of(instr, kind, weights, 4 * EI_LANES, 1, 1);
        step = EI_FN(ei_small_rnn);
    }
    if (g[0].left > 0)
        memset(sums, 0, sizeof sums);
    if (ei_is_single_step(instr)) {
        const ei_status status = ei_single_step(instr, bases, lstm, 0, &s.one);
        if (status != EI_OK) /* not without gate rows, which small weights never come with */
            return status;
        s.call.x = s.one.x;
        step(&s, instr);
    } else {
        EI_FN(ei_small_walk)(&s, instr, bases, lstm, step);
    }
    return EI_OK;
}

/* A Dense has the groups of an RNN without R. */
static EI_NOINLINE ei_status EI_FN(ei_dense_small)(const ei_instr *instr, char *const *bases)
{
    const int64_t rows = instr->dim[0], inputs = instr->dim[1], columns = instr->dim[2], kind = instr->dim[3];
    if (!ei_acts_known(instr, 1) || (kind != EI_WEIGHTS_F16 && kind != EI_WEIGHTS_I8))
        return EI_BAD_PROGRAM;
    const ei_small_kernels *kernels = ei_small_kernels_of(instr, kind);
    const ei_f32 *x = (const ei_f32 *)ei_in(instr, bases, 0);
    const char *group = ei_in(instr, bases, 1);
    ei_f32 *out = (ei_f32 *)ei_out(instr, bases, 0);
    const int64_t block = ei_small_group_bytes(kind, 4, 4, inputs, 0);
    ei_small_call call = {.inputs = inputs, .h = x}; /* no h, but a place for its 0 values */
    for (int64_t n = 0; n < columns; n += 4 * EI_LANES, group += block) {
        const int64_t left = columns - n < 4 * EI_LANES ? columns - n : 4 * EI_LANES;
        for (int64_t row = 0; row < rows; row++) {
            _Alignas(EI_ALIGN) float sums[4 * EI_LANES];
            call.x = x + row * inputs;
            kernels->sums[(left - 1) / EI_LANES](&call, group, sums);
            for (int64_t i = 0; i < left; i += EI_LANES)
                ei_units_store(out + row * columns + n + i, ei_activate(instr, 0, vf_load(sums + i)), left - i);
        }
    }
    return EI_OK;
}

EI_INLINE ei_status ei_small_gather(const ei_instr *instr, char *const *bases, int kind)
{
    const int64_t count = instr->dim[0], rows = instr->dim[1], width = instr->dim[2], dtype = instr->dim[3];
    const char *table = ei_in(instr, bases, 0), *indices = ei_in(instr, bases, 1);
    const ei_f32 *scale = (const ei_f32 *)ei_in(instr, bases, 2);
    ei_f32 *out = (ei_f32 *)ei_out(instr, bases, 0);
    if (dtype != EI_I32 && dtype != EI_I64)
        return EI_BAD_PROGRAM;
    for (int64_t i = 0; i < count; i++, out += width) {
        const int64_t index = ei_table_row(indices, i, dtype, rows);
        if (index < 0)
            return EI_INDEX_OUT_OF_RANGE;
        const char *row = table + index * width * (kind == EI_WEIGHTS_F16 ? 2 : 1);
        const vf by = vf_set1(kind == EI_WEIGHTS_F16 ? 1.0f : scale[index]);
        for (int64_t k = 0; k < width; k += EI_LANES, row += ei_small_row(kind, 1))
            ei_units_store(out + k, vf_mul(ei_small_load(kind, row, 0), by), width - k);
    }
    return EI_OK;
}

static EI_NOINLINE ei_status EI_FN(ei_gather_small)(const ei_instr *instr, char *const *bases)
{
    switch (instr->dim[4]) {
    case EI_WEIGHTS_F16: return ei_small_gather(instr, bases, EI_WEIGHTS_F16);
    case EI_WEIGHTS_I8: return ei_small_gather(instr, bases, EI_WEIGHTS_I8);
    default: return EI_BAD_PROGRAM;
    }
}
