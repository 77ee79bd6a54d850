/* One step of many streams at once: the same instructions for rows of memory of their own.
 *
 * A group of weights is read once for a tile of EI_TILE_ROWS rows, one segment of the sum after the other: a stream
 * alone waits for the cache, many share what it brings. Each sum has the order of sums_body.h and each cell is the code
 * of its own file, so a row has the bits that it has alone. What does not fill a tile, or has no tiles, runs alone. */

/* A tile's values: a row of x or h each. */
typedef struct ei_tile_values {
    const ei_f32 *a, *b, *c, *d;
} ei_tile_values;

#define EI_TILE_VALUES(rows, field)                                                                \
    (ei_tile_values){rows[0].field, rows[EI_TILE_ROWS > 1 ? 1 : 0].field,                          \
                     rows[EI_TILE_ROWS > 2 ? 2 : 0].field, rows[EI_TILE_ROWS > 3 ? 3 : 0].field}

/* s + v W for k in [from, to): one chain for each row. w: the first weights, those of the next k `step` floats on. */
EI_INLINE ei_tile ei_tile_chain(ei_tile s, ei_tile_values v, int64_t from, int64_t to, const float *w, int64_t step,
                                int vectors)
{
    for (int64_t k = from; k < to; k++, w += step) {
        const ei_sums weights = ei_sums_load(w, vectors);
        s.a = ei_sums_fma(s.a, v.a[k], weights, vectors);
        if (EI_TILE_ROWS > 1)
            s.b = ei_sums_fma(s.b, v.b[k], weights, vectors);
        if (EI_TILE_ROWS > 2)
            s.c = ei_sums_fma(s.c, v.c[k], weights, vectors);
        if (EI_TILE_ROWS > 3)
            s.d = ei_sums_fma(s.d, v.d[k], weights, vectors);
    }
    return s;
}

/* As ei_sums_two, or as ei_sums_four, for every row. */
EI_INLINE ei_tile ei_tile_segments(ei_tile s, ei_tile_values v, int64_t n, const float *w, int vectors, int segments)
{
    const ei_sums zero = ei_sums_zero();
    const int64_t part = segments == 2 ? n - n / 2 : (n + 3) / 4, row = vectors * EI_LANES;
    const int64_t step = segments == 2 ? 2 * row : row;
    s = ei_tile_chain(s, v, 0, part < n ? part : n, w, step, vectors);
    for (int segment = 1; segment < segments; segment++) {
        const int64_t from = segment * part < n ? segment * part : n, to = from + part < n ? from + part : n;
        const float *rows = w + (segments == 2 ? segment : from) * row;
        s = ei_tile_add(s, ei_tile_chain((ei_tile){zero, zero, zero, zero}, v, from, to, rows, step, vectors));
    }
    return s;
}

/* What the sums of x give: from the bias at w, or read where they were summed before, `at` floats on. */
EI_INLINE ei_tile ei_tile_of_x(const ei_one *rows, const float *w, int64_t bias_vectors, int64_t at, int vectors)
{
    if (rows[0].x_sums != NULL) {
        const ei_sums a = ei_sums_load(rows[0].x_sums + at, vectors);
        return (ei_tile){a, EI_TILE_ROWS > 1 ? ei_sums_load(rows[1].x_sums + at, vectors) : a,
                         EI_TILE_ROWS > 2 ? ei_sums_load(rows[2].x_sums + at, vectors) : a,
                         EI_TILE_ROWS > 3 ? ei_sums_load(rows[3].x_sums + at, vectors) : a};
    }
    const ei_sums bias = ei_sums_load(w, vectors);
    return ei_tile_segments((ei_tile){bias, bias, bias, bias}, EI_TILE_VALUES(rows, x), rows[0].inputs,
                            w + bias_vectors * EI_LANES, vectors, 2);
}

/* A tile's sums, row after row, so that what follows is compiled once for all rows. */
typedef struct ei_tile_sums {
    _Alignas(EI_ALIGN) float row[EI_TILE_ROWS][4 * EI_LANES];
} ei_tile_sums;

EI_INLINE void ei_tile_store(ei_tile_sums *to, ei_tile t, int vectors)
{
    ei_sums_store(to->row[0], t.a, vectors);
    if (EI_TILE_ROWS > 1)
        ei_sums_store(to->row[EI_TILE_ROWS > 1 ? 1 : 0], t.b, vectors);
    if (EI_TILE_ROWS > 2)
        ei_sums_store(to->row[EI_TILE_ROWS > 2 ? 2 : 0], t.c, vectors);
    if (EI_TILE_ROWS > 3)
        ei_sums_store(to->row[EI_TILE_ROWS > 3 ? 3 : 0], t.d, vectors);
}

EI_INLINE void ei_tile_group(const ei_one *rows, const ei_tile_values *h, const float *w, int64_t at, int vectors,
                             ei_tile_sums *to)
{
    const ei_tile s = ei_tile_of_x(rows, w, vectors, at, vectors);
    const float *r = w + (1 + rows[0].inputs) * vectors * EI_LANES;
    ei_tile_store(to, ei_tile_segments(s, *h, rows[0].hidden, r, vectors, 2), vectors);
}

/* bias + x W + h R of one group; h is what stands for it in a reset-first GRU's second section. Of the x sums those `at`
 * floats on. Out of line, as all that it is used for would be as much code again. */
static EI_NOINLINE void ei_tile_group_of(const ei_one *rows, const ei_tile_values *h, const float *w, int64_t at,
                                         int64_t vectors, ei_tile_sums *to)
{
    switch (vectors) {
    case 1: ei_tile_group(rows, h, w, at, 1, to); break;
    case 2: ei_tile_group(rows, h, w, at, 2, to); break;
    case 3: ei_tile_group(rows, h, w, at, 3, to); break;
    default: ei_tile_group(rows, h, w, at, 4, to); break;
    }
}

/* The rows of an instruction that is a single step of each; 0 where one of them fails. sums: as ei_single_step. */
EI_INLINE int ei_ones(ei_one *ones, const ei_instr *instr, char *const *const *rows, int64_t n, int has_c,
                      int64_t sums)
{
    for (int64_t r = 0; r < n; r++)
        if (ei_single_step(instr, rows[r], has_c, sums, ones + r) != EI_OK)
            return 0;
    return 1;
}

EI_INLINE void ei_lstm_tiles(const ei_instr *instr, int standard, const ei_one *ones, int64_t n)
{
    const int64_t hidden = ones->hidden, block = (1 + ones->inputs + hidden) * 4 * EI_LANES;
    int64_t unit = 0;
    ei_tile_sums sums;
    for (const float *w = ones->weights; unit + EI_LANES <= hidden; unit += EI_LANES, w += block) {
        for (const ei_one *rows = ones; rows < ones + n; rows += EI_TILE_ROWS) {
            const ei_tile_values h = EI_TILE_VALUES(rows, h);
            ei_tile_group_of(rows, &h, w, 4 * unit, 4, &sums);
            for (int r = 0; r < EI_TILE_ROWS; r++)
                ei_lstm_units(instr, standard, ei_sums_load(sums.row[r], 4), rows + r, unit, EI_LANES);
        }
    }
    for (int64_t r = 0; unit < hidden && r < n; r++)
        ei_lstm_left(instr, standard, ones + r);
}

/* The candidate's h sums start from Rb, and its x sums stay apart. */
static EI_NOINLINE void ei_gru_tiles_linear(const ei_instr *instr, const ei_one *ones, int64_t n)
{
    const int64_t hidden = ones->hidden, block = (4 + 3 * (ones->inputs + hidden)) * EI_LANES;
    int64_t unit = 0;
    ei_tile_sums from_x, sums;
    for (const float *w = ones->weights; unit + EI_LANES <= hidden; unit += EI_LANES, w += block) {
        for (const ei_one *rows = ones; rows < ones + n; rows += EI_TILE_ROWS) {
            ei_tile s = ei_tile_of_x(rows, w, 4, 3 * unit, 3);
            ei_tile_store(&from_x, s, 3);
            s.a.c = s.b.c = s.c.c = s.d.c = vf_load(w + 3 * EI_LANES);
            s = ei_tile_segments(s, EI_TILE_VALUES(rows, h), hidden, w + (4 + 3 * rows->inputs) * EI_LANES, 3, 2);
            ei_tile_store(&sums, s, 3);
            for (int r = 0; r < EI_TILE_ROWS; r++) {
                const vf n_x = vf_load(from_x.row[r] + 2 * EI_LANES);
                ei_gru_units_linear(instr, ei_sums_load(sums.row[r], 3), n_x, rows + r, unit, EI_LANES);
            }
        }
    }
    for (int64_t r = 0; unit < hidden && r < n; r++)
        ei_gru_left_linear(instr, ones + r);
}

/* A section of one gate in groups of four vectors of units, the last with as many as there are left: the candidate of a
 * reset-first GRU, or an RNN's h. */
static EI_NOINLINE void ei_unit_tiles(const ei_instr *instr, const ei_one *ones, int64_t n, const float *w, int64_t at,
                                      int gru)
{
    const int64_t hidden = ones->hidden, units = 4 * EI_LANES, block = (1 + ones->inputs + hidden) * units;
    ei_tile_sums sums;
    for (int64_t first = 0; first < hidden; first += units, w += block) {
        const int64_t many = hidden - first < units ? hidden - first : units;
        for (const ei_one *rows = ones; rows < ones + n; rows += EI_TILE_ROWS) {
            const ei_tile_values h = gru ? EI_TILE_VALUES(rows, reset_h) : EI_TILE_VALUES(rows, h);
            ei_tile_group_of(rows, &h, w, at + first, (many + EI_LANES - 1) / EI_LANES, &sums);
            for (int r = 0; r < EI_TILE_ROWS; r++) {
                for (int64_t k = 0; k < many; k += EI_LANES) {
                    const vf s = vf_load(sums.row[r] + k);
                    if (gru)
                        ei_gru_units_n(instr, s, rows + r, first + k, many - k);
                    else
                        ei_h_store(rows[r].out, first + k, ei_rnn_act(instr, s), many - k);
                }
            }
        }
    }
}

static EI_NOINLINE void ei_gru_tiles_reset_first(const ei_instr *instr, const ei_one *ones, int64_t n)
{
    const ei_groups zr = ei_gru_groups_zr(ones->inputs, ones->hidden);
    ei_tile_sums sums;
    for (int64_t k = 0; k < zr.blocks; k++) {
        const int64_t unit = k * 2 * EI_LANES;
        for (const ei_one *rows = ones; rows < ones + n; rows += EI_TILE_ROWS) {
            const ei_tile_values h = EI_TILE_VALUES(rows, h);
            ei_tile_group_of(rows, &h, ones->weights + k * zr.block, 2 * unit, 4, &sums);
            for (int r = 0; r < EI_TILE_ROWS; r++) {
                for (int64_t at = 0; at < 2 * EI_LANES; at += EI_LANES) {
                    const vf z = vf_load(sums.row[r] + at), reset = vf_load(sums.row[r] + 2 * EI_LANES + at);
                    ei_gru_units_zr(instr, z, reset, rows + r, unit + at, EI_LANES);
                }
            }
        }
    }
    for (int64_t r = 0; zr.left > 0 && r < n; r++)
        ei_gru_left_zr(instr, ones + r);
    ei_unit_tiles(instr, ones, n, ones->weights + ei_section_size(&zr, ones->inputs, ones->hidden),
                  ei_sums_size(&zr), 1);
}

/* --- operators: how many of the rows, from the first on, were done together; 0 where one of them would fail ----- */

static EI_NOINLINE int64_t ei_lstm_rows(const ei_instr *instr, char *const *const *rows, int64_t n)
{
    ei_one ones[EI_POOL_ROWS];
    const ei_groups g = ei_lstm_groups(instr->dim[2], instr->dim[3]);
    if (!ei_is_single_step(instr) || !ei_acts_known(instr, 3) ||
        !ei_ones(ones, instr, rows, n, 1, ei_sums_size(&g)))
        return 0;
    if (ei_lstm_is_standard(instr))
        ei_lstm_tiles(instr, 1, ones, n);
    else
        ei_lstm_tiles(instr, 0, ones, n);
    return n;
}

static EI_NOINLINE int64_t ei_gru_rows(const ei_instr *instr, char *const *const *rows, int64_t n)
{
    ei_one ones[EI_POOL_ROWS];
    const int linear = instr->dim[7] != 0;
    const ei_groups g = linear ? ei_gru_groups_linear(instr->dim[2], instr->dim[3])
                               : ei_gru_groups_zr(instr->dim[2], instr->dim[3]),
                    candidate = ei_gru_groups_n(instr->dim[2], instr->dim[3]);
    const int64_t sums = ei_sums_size(&g) + (linear ? 0 : ei_sums_size(&candidate));
    if (!ei_is_single_step(instr) || !ei_acts_known(instr, 2) || !ei_ones(ones, instr, rows, n, 0, sums))
        return 0;
    if (linear)
        ei_gru_tiles_linear(instr, ones, n);
    else
        ei_gru_tiles_reset_first(instr, ones, n);
    return n;
}

static EI_NOINLINE int64_t ei_rnn_rows(const ei_instr *instr, char *const *const *rows, int64_t n)
{
    ei_one ones[EI_POOL_ROWS];
    if (!ei_is_single_step(instr) || !ei_acts_known(instr, 1) ||
        !ei_ones(ones, instr, rows, n, 0, ei_up_to_lanes(instr->dim[3])))
        return 0;
    ei_unit_tiles(instr, ones, n, ones->weights, 0, 0);
    return n;
}

/* One group's columns for a tile. w is at the group's bias. */
EI_INLINE void ei_dense_tile(const ei_f32 *const *x, const float *w, int64_t inputs, int vectors, ei_tile_sums *to)
{
    const ei_sums bias = ei_sums_load(w, vectors);
    const ei_tile_values v = {x[0], x[EI_TILE_ROWS > 1 ? 1 : 0], x[EI_TILE_ROWS > 2 ? 2 : 0],
                              x[EI_TILE_ROWS > 3 ? 3 : 0]};
    ei_tile_store(to,
                  ei_tile_segments((ei_tile){bias, bias, bias, bias}, v, inputs, w + vectors * EI_LANES, vectors,
                                   vectors > 2 ? 2 : 4),
                  vectors);
}

static EI_NOINLINE void ei_dense_tile_of(const ei_f32 *const *x, const float *w, int64_t inputs, int64_t vectors,
                                         ei_tile_sums *to)
{
    switch (vectors) {
    case 1: ei_dense_tile(x, w, inputs, 1, to); break;
    case 2: ei_dense_tile(x, w, inputs, 2, to); break;
    case 3: ei_dense_tile(x, w, inputs, 3, to); break;
    default: ei_dense_tile(x, w, inputs, 4, to); break;
    }
}

static EI_NOINLINE int64_t ei_dense_rows(const ei_instr *instr, char *const *const *rows, int64_t n)
{
    const int64_t inputs = instr->dim[1], columns = instr->dim[2];
    const ei_f32 *x[EI_POOL_ROWS];
    ei_f32 *out[EI_POOL_ROWS];
    if (instr->dim[0] != 1 || 4 * columns <= EI_LANES || !ei_acts_known(instr, 1))
        return 0;
    for (int64_t r = 0; r < n; r++) {
        x[r] = (const ei_f32 *)ei_in(instr, rows[r], 0);
        out[r] = (ei_f32 *)ei_out(instr, rows[r], 0);
    }
    const float *w = (const float *)(const void *)ei_in(instr, rows[0], 1);
    ei_tile_sums sums;
    for (int64_t column = 0; column < columns; column += 4 * EI_LANES, w += (1 + inputs) * 4 * EI_LANES) {
        const int64_t many = columns - column < 4 * EI_LANES ? columns - column : 4 * EI_LANES;
        for (int64_t first = 0; first < n; first += EI_TILE_ROWS) {
            ei_dense_tile_of(x + first, w, inputs, (many + EI_LANES - 1) / EI_LANES, &sums);
            for (int r = 0; r < EI_TILE_ROWS; r++)
                for (int64_t k = 0; k < many; k += EI_LANES)
                    ei_vector_write(out[first + r] + column + k, ei_activate(instr, 0, vf_load(sums.row[r] + k)),
                                    many - k);
        }
    }
    return n;
}

/* How many of the rows, from the first on, an op does together. */
EI_INLINE int64_t ei_rows_together(int64_t op, const ei_instr *instr, char *const *const *rows, int64_t n)
{
    switch (n > 0 ? op : 0) {
    case EI_OP_LSTM: return ei_lstm_rows(instr, rows, n);
    case EI_OP_GRU: return ei_gru_rows(instr, rows, n);
    case EI_OP_RNN: return ei_rnn_rows(instr, rows, n);
    case EI_OP_DENSE: return ei_dense_rows(instr, rows, n);
    default: return 0;
    }
}

/* Brings the rows whose step counts to the front of `kept`, which has room for n, the others behind them; `places` says
 * which rows those are. Gives how many count. */
static EI_NOINLINE size_t ei_masked_first(const ei_instr *instr, char *const *const *rows, size_t n,
                                          char *const **kept, size_t *places)
{
    size_t count = 0, rest = n;
    for (size_t row = n; row-- > 0;)
        if (!ei_masked_counts(instr, rows[row]))
            places[--rest] = row;
    for (size_t row = 0; row < n; row++)
        if (ei_masked_counts(instr, rows[row]))
            places[count++] = row;
    for (size_t k = 0; k < n; k++)
        kept[k] = rows[places[k]];
    return count;
}

static ei_status EI_FN(ei_run_rows)(const ei_instr *code, size_t count, char *const *const *rows, size_t n,
                                    size_t *failed, size_t *failed_row)
{
    char *const *kept[EI_POOL_ROWS];
    size_t places[EI_POOL_ROWS];
    for (size_t k = 0; k < count; k++) {
        const int masked = code[k].op == EI_OP_MASKED && ei_is_single_step(code + k);
        const size_t many = masked ? ei_masked_first(code + k, rows, n, kept, places) : n;
        char *const *const *chosen = masked ? kept : rows;
        const int64_t tiled = (int64_t)(many - many % EI_TILE_ROWS);
        const int64_t done = ei_rows_together(masked ? code[k].dim[14] : code[k].op, code + k, chosen, tiled);
        for (size_t row = (size_t)done; row < n; row++) {
            size_t at = 0;
            const ei_status status = EI_FN(ei_run)(code + k, 1, chosen[row], &at);
            if (status != EI_OK) {
                *failed = k;
                *failed_row = masked ? places[row] : row;
                return status;
            }
        }
    }
    return EI_OK;
}
