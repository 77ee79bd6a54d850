/* GRU: z, r = act0(gates), n = act1(gate), h = (1 - z)*n + z*h. */

EI_INLINE vf ei_gru_mix(vf z, vf n, vf h)
{
    return vf_fma(z, ei_flushed(h), vf_mul(vf_sub(vf_set1(1.0f), z), n));
}

/* --- linear_before_reset: n = act1(Wb + x W + r (Rb + h R)) ----------------------------------------------------- */

EI_INLINE ei_groups ei_gru_groups_linear(int64_t inputs, int64_t hidden)
{
    return ei_groups_of(inputs, hidden, EI_LANES, 3, 4, 3);
}

/* s has the sums of z, r and Rb + h R; n_x is Wb + x W. */
EI_INLINE void ei_gru_units_linear(const ei_instr *instr, ei_sums s, vf n_x, const ei_one *one, int64_t unit,
                                   int64_t n)
{
    const vf reset = ei_activate_usual(instr, 0, EI_ACT_SIGMOID, s.b);
    const vf z = ei_activate_usual(instr, 0, EI_ACT_SIGMOID, s.a);
    const vf candidate = ei_activate_usual(instr, 1, EI_ACT_TANH, vf_fma(reset, s.c, n_x));
    ei_h_store(one->out, unit, ei_gru_mix(z, candidate, ei_units_load(one->h + unit, n)), n);
}

/* A group of whole vectors; bias_h is Rb. */
EI_INLINE void ei_gru_block_linear(const ei_instr *instr, ei_group g, const float *bias_h, const ei_one *one,
                                   int64_t unit, int64_t n)
{
    const float *w = g.w + g.bias_vectors * EI_LANES;
    const ei_sums from_x =
        g.x_sums != NULL ? ei_sums_load(g.x_sums, 3) : ei_sums_two(ei_sums_load(g.w, 3), g.x, g.inputs, w, 3);
    const ei_sums start = {from_x.a, from_x.b, vf_load(bias_h), from_x.d};
    const ei_sums s = ei_sums_two(start, g.h, g.hidden, w + 3 * g.inputs * EI_LANES, 3);
    ei_gru_units_linear(instr, s, from_x.c, one, unit, n);
}

/* The units left over from their sums and, at the candidates' place, those of x alone. */
EI_INLINE void ei_gru_left_units_linear(const ei_instr *instr, const float *sums, const float *from_x,
                                        const ei_one *one, int64_t unit, int64_t left)
{
    const ei_f32 *z = (const ei_f32 *)sums, *r = z + left, *n = r + left;
    const vf n_x = vf_loadu((const ei_f32 *)from_x + 2 * left);
    const ei_sums s = {vf_loadu(z), vf_loadu(r), vf_loadu(n), n_x};
    ei_gru_units_linear(instr, s, n_x, one, unit, left);
}

/* Blocks `at` and `next`: three gates in two segments are six sums, where the FMA units have room for eight and more. */
static EI_NOINLINE void ei_gru_blocks_linear(const ei_instr *instr, const ei_one *one, int64_t at, int64_t next)
{
    const int64_t row = 3 * EI_LANES, block = (4 + 3 * (one->inputs + one->hidden)) * EI_LANES;
    const float *a_w = one->weights + at * block, *b_w = one->weights + next * block, *x_sums = one->x_sums;
    const vf a_bias_h = vf_load(a_w + row), b_bias_h = vf_load(b_w + row);
    ei_sums a = ei_sums_load(x_sums ? x_sums + at * row : a_w, 3);
    ei_sums b = ei_sums_load(x_sums ? x_sums + next * row : b_w, 3);
    a_w += row + EI_LANES;
    b_w += row + EI_LANES;
    if (x_sums == NULL)
        ei_sums_two_beside(&a, &b, one->x, one->inputs, a_w, b_w, 3, 3);
    const vf a_n = a.c, b_n = b.c;
    a.c = a_bias_h;
    b.c = b_bias_h;
    ei_sums_two_beside(&a, &b, one->h, one->hidden, a_w + one->inputs * row, b_w + one->inputs * row, 3, 3);
    ei_gru_units_linear(instr, a, a_n, one, at * EI_LANES, EI_LANES);
    ei_gru_units_linear(instr, b, b_n, one, next * EI_LANES, EI_LANES);
}

/* A block, and beside it the units left over. */
EI_INLINE void ei_gru_beside_linear(const ei_instr *instr, const ei_one *one, const ei_groups *g, int64_t at,
                                    int vectors)
{
    _Alignas(EI_ALIGN) float from_x[4 * EI_LANES], sums[4 * EI_LANES];
    const int64_t row = 3 * EI_LANES, left_row = vectors * EI_LANES;
    const float *w = one->weights + at * g->block, *left_w = one->weights + g->blocks * g->block;
    const float *x_sums = one->x_sums;
    const vf bias_h = vf_load(w + row), half = vf_set1(0.5f);
    const ei_sums left_bias_h = ei_sums_load(left_w + left_row, vectors);
    const ei_sums is_n = ei_sums_load(left_w + 2 * left_row, vectors);
    ei_sums s = ei_sums_load(x_sums ? x_sums + at * row : w, 3);
    ei_sums left = ei_sums_load(x_sums ? x_sums + g->blocks * row : left_w, vectors);
    w += row + EI_LANES;
    left_w += 3 * left_row;
    if (x_sums == NULL)
        ei_sums_two_beside(&s, &left, one->x, one->inputs, w, left_w, 3, vectors);
    ei_sums_store(from_x, ei_sums_zero(), 4);
    ei_sums_store(from_x, left, vectors);
    const vf n_x = s.c;
    s.c = bias_h;
    left.a = vf_select_lt(half, is_n.a, left_bias_h.a, left.a);
    left.b = vf_select_lt(half, is_n.b, left_bias_h.b, left.b);
    left.c = vf_select_lt(half, is_n.c, left_bias_h.c, left.c);
    ei_sums_two_beside(&s, &left, one->h, one->hidden, w + one->inputs * row, left_w + one->inputs * left_row, 3,
                       vectors);
    ei_sums_store(sums, ei_sums_zero(), 4);
    ei_sums_store(sums, left, vectors);
    ei_gru_units_linear(instr, s, n_x, one, at * EI_LANES, EI_LANES);
    ei_gru_left_units_linear(instr, sums, from_x, one, g->blocks * EI_LANES, g->left);
}

/* The units left over, packed together. Their bias rows are z, r and n_x; Rb at n's place; 1 at n's place, else 0. */
static EI_NOINLINE void ei_gru_packed_linear(const ei_instr *instr, const ei_group *g, int64_t left, const ei_one *one,
                                             int64_t unit)
{
    _Alignas(EI_ALIGN) float from_x[4 * EI_LANES], start[4 * EI_LANES], sums[4 * EI_LANES];
    const int64_t row = g->vectors * EI_LANES;
    ei_sums_store(from_x, ei_sums_zero(), 4);
    if (g->x_sums != NULL)
        memcpy(from_x, g->x_sums, (size_t)row * sizeof *from_x);
    else
        ei_x_sums_of(g->w, g->bias_vectors, g->x, 0, g->inputs, 1, from_x, 0, g->vectors);
    /* the h sums start from x, but for those of the candidate, which start from Rb */
    for (int64_t k = 0; k < row; k += EI_LANES) {
        const vf is_n = vf_load(g->w + 2 * row + k);
        vf_store(start + k, vf_select_lt(vf_set1(0.5f), is_n, vf_load(g->w + row + k), vf_load(from_x + k)));
    }
    ei_group from_h = *g;
    from_h.x_sums = start;
    ei_left_sums(&from_h, sums);
    ei_gru_left_units_linear(instr, sums, from_x, one, unit, left);
}

static EI_NOINLINE void ei_gru_left_linear(const ei_instr *instr, const ei_one *one)
{
    const ei_groups g = ei_gru_groups_linear(one->inputs, one->hidden);
    const ei_group group = {.w = one->weights + g.blocks * g.block, .bias_vectors = g.left_bias_vectors,
                            .vectors = g.left_vectors, .inputs = one->inputs, .hidden = one->hidden, .x = one->x,
                            .x_sums = one->x_sums ? one->x_sums + g.blocks * 3 * EI_LANES : NULL, .h = one->h};
    if (g.blocks > 0)
        ei_gru_packed_linear(instr, &group, g.left, one, g.blocks * EI_LANES);
    else
        ei_gru_block_linear(instr, group, group.w + 5 * EI_LANES, one, 0, g.left);
}

/* The units left over and, where there is a block, block `at` with them. Gives how many blocks that were. */
static EI_NOINLINE int ei_gru_left_first_linear(const ei_instr *instr, const ei_one *one, int64_t at)
{
    const ei_groups g = ei_gru_groups_linear(one->inputs, one->hidden);
    if (g.blocks == 0) {
        ei_gru_left_linear(instr, one);
        return 0;
    }
    switch (g.left_vectors) {
    case 1: ei_gru_beside_linear(instr, one, &g, at, 1); break;
    case 2: ei_gru_beside_linear(instr, one, &g, at, 2); break;
    default: ei_gru_beside_linear(instr, one, &g, at, 3); break;
    }
    return 1;
}

EI_INLINE void ei_gru_step_linear(const ei_instr *instr, const ei_one *one)
{
    int64_t blocks = (int64_t)((uint64_t)one->hidden / EI_LANES);
    const int64_t block = (4 + 3 * (one->inputs + one->hidden)) * EI_LANES;
    int64_t at = one->backward ? blocks - 1 : 0;
    const int64_t turn = one->backward ? -1 : 1;
    if (blocks * EI_LANES < one->hidden) { /* first, so that taking their gates apart does not wait at the end */
        const int taken = ei_gru_left_first_linear(instr, one, at);
        blocks -= taken;
        at += taken * turn;
    }
    for (const int beside = blocks * block <= EI_BESIDE_FLOATS; beside && blocks > 1; blocks -= 2, at += 2 * turn)
        ei_gru_blocks_linear(instr, one, at, at + turn);
    ei_group group = {.w = one->weights + at * block, .bias_vectors = 4, .inputs = one->inputs,
                      .hidden = one->hidden, .x = one->x, .h = one->h};
    int64_t unit = at * EI_LANES;
    for (; blocks > 0; blocks--, unit += turn * EI_LANES, group.w += turn * block) {
        group.x_sums = one->x_sums ? one->x_sums + 3 * unit : NULL;
        ei_gru_block_linear(instr, group, group.w + 3 * EI_LANES, one, unit, EI_LANES);
    }
}

/* --- reset first: n = act1(Wb + Rb + x W + (r h) R) ------------------------------------------------------------- */

/* Every unit's r is needed before the first n, so z and r stand in one section of the weights and n in another one
 * behind it, each in groups of four vectors. */
EI_INLINE ei_groups ei_gru_groups_zr(int64_t inputs, int64_t hidden)
{
    return ei_groups_of(inputs, hidden, 2 * EI_LANES, 2, 2, 1);
}

EI_INLINE ei_groups ei_gru_groups_n(int64_t inputs, int64_t hidden)
{
    return ei_groups_of(inputs, hidden, 4 * EI_LANES, 1, 1, 1);
}

EI_INLINE void ei_gru_units_zr(const ei_instr *instr, vf z, vf reset, const ei_one *one, int64_t unit, int64_t n)
{
    vf_store(one->z + unit, ei_activate_usual(instr, 0, EI_ACT_SIGMOID, z));
    reset = ei_activate_usual(instr, 0, EI_ACT_SIGMOID, reset);
    vf_store(one->reset_h + unit, vf_mul(reset, ei_units_load(one->h + unit, n)));
}

/* The units left over: on whole vectors where they are all there are. */
static EI_NOINLINE void ei_gru_left_zr(const ei_instr *instr, const ei_one *one)
{
    const ei_groups g = ei_gru_groups_zr(one->inputs, one->hidden);
    const ei_group group = {.w = one->weights + g.blocks * g.block, .bias_vectors = g.left_bias_vectors,
                            .vectors = g.left_vectors, .inputs = one->inputs, .hidden = one->hidden, .x = one->x,
                            .x_sums = one->x_sums ? one->x_sums + g.blocks * 4 * EI_LANES : NULL, .h = one->h};
    const int64_t unit = g.blocks * 2 * EI_LANES;
    if (unit == 0 && g.left <= EI_LANES) {
        const ei_sums s = ei_group_sums(group, 2);
        ei_gru_units_zr(instr, s.a, s.b, one, 0, g.left);
        return;
    }
    if (unit == 0) {
        const ei_sums s = ei_group_sums(group, 4);
        ei_gru_units_zr(instr, s.a, s.c, one, 0, EI_LANES);
        ei_gru_units_zr(instr, s.b, s.d, one, EI_LANES, g.left - EI_LANES);
        return;
    }
    _Alignas(EI_ALIGN) float sums[4 * EI_LANES];
    ei_left_sums(&group, sums);
    const ei_f32 *z = (const ei_f32 *)sums, *reset = z + g.left;
    ei_gru_units_zr(instr, vf_loadu(z), vf_loadu(reset), one, unit, g.left);
    if (g.left > EI_LANES)
        ei_gru_units_zr(instr, vf_loadu(z + EI_LANES), vf_loadu(reset + EI_LANES), one, unit + EI_LANES,
                        g.left - EI_LANES);
}

EI_INLINE void ei_gru_units_n(const ei_instr *instr, vf s, const ei_one *one, int64_t unit, int64_t n)
{
    const vf candidate = ei_activate_usual(instr, 1, EI_ACT_TANH, s);
    const vf h = ei_gru_mix(vf_load(one->z + unit), candidate, ei_units_load(one->h + unit, n));
    ei_h_store(one->out, unit, h, n);
}

EI_INLINE void ei_gru_n(const ei_instr *instr, ei_group group, const ei_one *one, int64_t unit, int64_t n, int vectors)
{
    group.bias_vectors = vectors;
    const ei_sums s = ei_group_sums(group, vectors);
    ei_gru_units_n(instr, s.a, one, unit, n);
    if (vectors > 1)
        ei_gru_units_n(instr, s.b, one, unit + EI_LANES, n - EI_LANES);
    if (vectors > 2)
        ei_gru_units_n(instr, s.c, one, unit + 2 * EI_LANES, n - 2 * EI_LANES);
    if (vectors > 3)
        ei_gru_units_n(instr, s.d, one, unit + 3 * EI_LANES, n - 3 * EI_LANES);
}

static EI_NOINLINE void ei_gru_step_reset_first(const ei_instr *instr, const ei_one *one)
{
    const ei_groups zr = ei_gru_groups_zr(one->inputs, one->hidden);
    ei_group group = {.bias_vectors = 4, .inputs = one->inputs, .hidden = one->hidden, .x = one->x, .h = one->h};
    if (zr.left > 0)
        ei_gru_left_zr(instr, one);
    for (int64_t k = 0; k < zr.blocks; k++) {
        const int64_t at = one->backward ? zr.blocks - 1 - k : k, unit = at * 2 * EI_LANES;
        group.w = one->weights + at * zr.block;
        group.x_sums = one->x_sums ? one->x_sums + 2 * unit : NULL;
        const ei_sums s = ei_group_sums(group, 4);
        ei_gru_units_zr(instr, s.a, s.c, one, unit, EI_LANES);
        ei_gru_units_zr(instr, s.b, s.d, one, unit + EI_LANES, EI_LANES);
    }
    const float *w = one->weights + ei_section_size(&zr, one->inputs, one->hidden);
    const float *x_sums = one->x_sums ? one->x_sums + ei_sums_size(&zr) : NULL;
    const int64_t units = 4 * EI_LANES, blocks = (int64_t)((uint64_t)one->hidden / units);
    const int64_t left = one->hidden - blocks * units, block = (1 + one->inputs + one->hidden) * units;
    group.h = (const ei_f32 *)one->reset_h;
    group.w = w + blocks * block;
    group.x_sums = x_sums ? x_sums + blocks * units : NULL;
    if (left > 3 * EI_LANES)
        ei_gru_n(instr, group, one, blocks * units, left, 4);
    else if (left > 2 * EI_LANES)
        ei_gru_n(instr, group, one, blocks * units, left, 3);
    else if (left > EI_LANES)
        ei_gru_n(instr, group, one, blocks * units, left, 2);
    else if (left > 0)
        ei_gru_n(instr, group, one, blocks * units, left, 1);
    for (int64_t k = 0; k < blocks; k++) {
        const int64_t at = one->backward ? blocks - 1 - k : k, unit = at * units;
        group.w = w + at * block;
        group.x_sums = x_sums ? x_sums + unit : NULL;
        ei_gru_n(instr, group, one, unit, units, 4);
    }
}

/* --- both ------------------------------------------------------------------------------------------------------- */

static EI_NOINLINE ei_status ei_gru_walk(const ei_instr *instr, char *const *bases)
{
    const ei_groups linear = ei_gru_groups_linear(instr->dim[2], instr->dim[3]);
    const ei_groups reset_first[] = {ei_gru_groups_zr(instr->dim[2], instr->dim[3]),
                                     ei_gru_groups_n(instr->dim[2], instr->dim[3])};
    if (instr->dim[7] != 0)
        return ei_walk(instr, bases, &linear, 1, 0, ei_gru_step_linear);
    return ei_walk(instr, bases, reset_first, 2, 0, ei_gru_step_reset_first);
}

static EI_NOINLINE ei_status ei_gru_single_reset_first(const ei_instr *instr, char *const *bases)
{
    ei_one one;
    const ei_groups zr = ei_gru_groups_zr(instr->dim[2], instr->dim[3]);
    const int64_t sums = ei_sums_size(&zr) + ei_up_to_lanes(instr->dim[3]);
    const ei_status status = ei_single_step(instr, bases, 0, sums, &one);
    if (status == EI_OK)
        ei_gru_step_reset_first(instr, &one);
    return status;
}

static EI_NOINLINE ei_status EI_FN(ei_gru_f32)(const ei_instr *instr, char *const *bases)
{
    if (!ei_acts_known(instr, 2))
        return EI_BAD_PROGRAM;
    if (!ei_is_single_step(instr))
        return ei_gru_walk(instr, bases);
    if (instr->dim[7] == 0)
        return ei_gru_single_reset_first(instr, bases);
    ei_one one;
    const ei_groups g = ei_gru_groups_linear(instr->dim[2], instr->dim[3]);
    const ei_status status = ei_single_step(instr, bases, 0, ei_sums_size(&g), &one);
    if (status == EI_OK)
        ei_gru_step_linear(instr, &one);
    return status;
}
