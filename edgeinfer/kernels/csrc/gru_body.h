/* GRU: z, r = act0(gates), n = act1(gate), h = (1 - z)*n + z*h. */

EI_INLINE vf ei_gru_mix(vf z, vf n, vf h) { return vf_fma(z, h, vf_mul(vf_sub(vf_set1(1.0f), z), n)); }

EI_INLINE ei_groups ei_gru_groups_linear(const ei_recurrent *r) { return ei_groups_of(r, EI_LANES, 3, 4, 3); }

/* linear_before_reset: n = act1(Wb + x W + r (Rb + h R)). s has the sums of z, r and Rb + h R, n_x is Wb + x W. */
EI_INLINE void ei_gru_units_linear(const ei_instr *instr, ei_sums s, vf n_x, const ei_f32 *h, ei_h_out out,
                                   int64_t unit, int64_t n)
{
    const vf reset = ei_activate(instr, 0, s.b), z = ei_activate(instr, 0, s.a);
    const vf candidate = ei_activate(instr, 1, vf_fma(reset, s.c, n_x));
    ei_h_store(out, unit, ei_gru_mix(z, candidate, ei_units_load(h + unit, n)), n);
}

/* One vector of where the h sums of the units left over start: x, but for the candidate Rb. bias_h is Rb at the
 * candidate's place, is_candidate 1 there, else 0. */
EI_INLINE vf ei_gru_start_h(const float *from_x, const float *bias_h, const float *is_candidate)
{
    return vf_select_lt(vf_set1(0.5f), vf_load(is_candidate), vf_load(bias_h), vf_load(from_x));
}

/* The units left over. Their bias rows are z, r and n_x; Rb; what ei_gru_start_h calls is_candidate. */
static EI_NOINLINE void ei_gru_left_linear(const ei_instr *instr, const ei_group *g, int64_t left, ei_h_out out,
                                           int64_t unit)
{
    _Alignas(EI_ALIGN) float from_x[4 * EI_LANES], start[4 * EI_LANES], sums[4 * EI_LANES];
    const int64_t row = g->vectors * EI_LANES;
    ei_sums_store(from_x, ei_sums_zero(), 4);
    if (g->x_sums != NULL)
        memcpy(from_x, g->x_sums, (size_t)row * sizeof *from_x);
    else
        ei_x_sums_of(g->w, g->bias_vectors, g->x, 0, g->inputs, 1, from_x, 0, g->vectors);
    for (int64_t k = 0; k < row; k += EI_LANES)
        vf_store(start + k, ei_gru_start_h(from_x + k, g->w + row + k, g->w + 2 * row + k));
    ei_group from_h = *g;
    from_h.x_sums = start;
    ei_left_sums(&from_h, sums);
    const ei_f32 *gate = (const ei_f32 *)sums;
    const vf n_x = vf_loadu((const ei_f32 *)from_x + 2 * left);
    const ei_sums s = {vf_loadu(gate), vf_loadu(gate + left), vf_loadu(gate + 2 * left), n_x};
    ei_gru_units_linear(instr, s, n_x, g->h, out, unit, left);
}

/* A group of whole vectors; bias_h is Rb. */
EI_INLINE void ei_gru_block_linear(const ei_instr *instr, ei_group g, const float *bias_h, ei_h_out out, int64_t unit,
                                   int64_t n)
{
    const float *w = g.w + g.bias_vectors * EI_LANES;
    const ei_sums from_x =
        g.x_sums != NULL ? ei_sums_load(g.x_sums, 3) : ei_sums_two(ei_sums_load(g.w, 3), g.x, g.inputs, w, 3);
    const ei_sums start = {from_x.a, from_x.b, vf_load(bias_h), from_x.d};
    const ei_sums s = ei_sums_two(start, g.h, g.hidden, w + 3 * g.inputs * EI_LANES, 3);
    ei_gru_units_linear(instr, s, from_x.c, g.h, out, unit, n);
}

EI_INLINE void ei_gru_step_linear(const ei_recurrent *r, const ei_groups *g, const ei_instr *instr, int backward,
                                  const ei_f32 *x, const float *x_sums, const ei_f32 *h, ei_h_out out)
{
    ei_group group = {.w = r->weights + g->blocks * g->block, .inputs = r->inputs, .hidden = r->hidden, .x = x,
                      .h = h};
    if (g->left > 0) { /* first, so that taking its gates apart does not wait at the end */
        ei_group left = group;
        left.x_sums = x_sums ? x_sums + g->blocks * 3 * EI_LANES : NULL;
        left.bias_vectors = g->left_bias_vectors;
        left.vectors = g->left_vectors;
        if (g->blocks > 0)
            ei_gru_left_linear(instr, &left, g->left, out, g->blocks * EI_LANES);
        else
            ei_gru_block_linear(instr, left, left.w + 5 * EI_LANES, out, 0, g->left);
    }
    group.bias_vectors = 4;
    for (int64_t k = 0; k < g->blocks; k++) {
        const int64_t at = backward ? g->blocks - 1 - k : k, unit = at * EI_LANES;
        group.w = r->weights + at * g->block;
        group.x_sums = x_sums ? x_sums + 3 * unit : NULL;
        ei_gru_block_linear(instr, group, group.w + 3 * EI_LANES, out, unit, EI_LANES);
    }
}

/* Reset first: every unit's r is needed before the first n, so z and r stand in one section of the weights and n in
 * another one behind it, each in groups of four vectors. */
EI_INLINE ei_groups ei_gru_groups_zr(const ei_recurrent *r) { return ei_groups_of(r, 2 * EI_LANES, 2, 2, 1); }
EI_INLINE ei_groups ei_gru_groups_n(const ei_recurrent *r) { return ei_groups_of(r, 4 * EI_LANES, 1, 1, 1); }

/* What the second section needs of the first: z, and r*h. */
typedef struct ei_gru_rows {
    float *z, *reset_h;
} ei_gru_rows;

EI_INLINE void ei_gru_units_zr(const ei_instr *instr, vf z, vf reset, const ei_f32 *h, ei_gru_rows rows,
                               int64_t unit, int64_t n)
{
    vf_store(rows.z + unit, ei_activate(instr, 0, z));
    vf_store(rows.reset_h + unit, vf_mul(ei_activate(instr, 0, reset), ei_units_load(h + unit, n)));
}

/* The units left over: on whole vectors where they are all there are. */
static EI_NOINLINE void ei_gru_left_zr(const ei_instr *instr, const ei_group *g, int64_t left, ei_gru_rows rows,
                                       int64_t unit)
{
    if (unit == 0 && left <= EI_LANES) {
        const ei_sums s = ei_group_sums(*g, 2);
        ei_gru_units_zr(instr, s.a, s.b, g->h, rows, 0, left);
        return;
    }
    if (unit == 0) {
        const ei_sums s = ei_group_sums(*g, 4);
        ei_gru_units_zr(instr, s.a, s.c, g->h, rows, 0, EI_LANES);
        ei_gru_units_zr(instr, s.b, s.d, g->h, rows, EI_LANES, left - EI_LANES);
        return;
    }
    _Alignas(EI_ALIGN) float sums[4 * EI_LANES];
    ei_left_sums(g, sums);
    const ei_f32 *z = (const ei_f32 *)sums, *reset = z + left;
    ei_gru_units_zr(instr, vf_loadu(z), vf_loadu(reset), g->h, rows, unit, left);
    if (left > EI_LANES)
        ei_gru_units_zr(instr, vf_loadu(z + EI_LANES), vf_loadu(reset + EI_LANES), g->h, rows, unit + EI_LANES,
                        left - EI_LANES);
}

EI_INLINE void ei_gru_units_n(const ei_instr *instr, vf s, const float *z, const ei_f32 *h, ei_h_out out,
                              int64_t unit, int64_t n)
{
    const vf candidate = ei_activate(instr, 1, s);
    ei_h_store(out, unit, ei_gru_mix(vf_load(z + unit), candidate, ei_units_load(h + unit, n)), n);
}

/* A group of n = act1(Wb + Rb + x W + (r h) R). */
EI_INLINE void ei_gru_n(const ei_instr *instr, ei_group group, const float *z, const ei_f32 *h, ei_h_out out,
                        int64_t unit, int64_t n, int vectors)
{
    group.bias_vectors = vectors;
    const ei_sums s = ei_group_sums(group, vectors);
    ei_gru_units_n(instr, s.a, z, h, out, unit, n);
    if (vectors > 1)
        ei_gru_units_n(instr, s.b, z, h, out, unit + EI_LANES, n - EI_LANES);
    if (vectors > 2)
        ei_gru_units_n(instr, s.c, z, h, out, unit + 2 * EI_LANES, n - 2 * EI_LANES);
    if (vectors > 3)
        ei_gru_units_n(instr, s.d, z, h, out, unit + 3 * EI_LANES, n - 3 * EI_LANES);
}

/* g: the two sections. */
EI_INLINE void ei_gru_step_reset_first(const ei_recurrent *r, const ei_groups *g, const ei_instr *instr, int backward,
                                       const ei_f32 *x, const float *x_sums, const ei_f32 *h, ei_h_out out)
{
    const ei_gru_rows rows = {r->c, r->reset_h};
    const int64_t n_groups = g[1].blocks + (g[1].left > 0);
    ei_group zr = {.w = r->weights + g[0].blocks * g[0].block, .inputs = r->inputs, .hidden = r->hidden, .x = x,
                   .h = h};
    if (g[0].left > 0) {
        ei_group left = zr;
        left.x_sums = x_sums ? x_sums + g[0].blocks * 4 * EI_LANES : NULL;
        left.bias_vectors = left.vectors = g[0].left_vectors;
        ei_gru_left_zr(instr, &left, g[0].left, rows, g[0].blocks * 2 * EI_LANES);
    }
    zr.bias_vectors = 4;
    for (int64_t k = 0; k < g[0].blocks; k++) {
        const int64_t at = backward ? g[0].blocks - 1 - k : k, unit = at * 2 * EI_LANES;
        zr.w = r->weights + at * g[0].block;
        zr.x_sums = x_sums ? x_sums + 2 * unit : NULL;
        const ei_sums s = ei_group_sums(zr, 4);
        ei_gru_units_zr(instr, s.a, s.c, h, rows, unit, EI_LANES);
        ei_gru_units_zr(instr, s.b, s.d, h, rows, unit + EI_LANES, EI_LANES);
    }
    for (int64_t k = 0; k < n_groups; k++) {
        const int64_t at = backward ? n_groups - 1 - k : k, unit = at * 4 * EI_LANES;
        const ei_group group = {.w = r->weights + g[0].size + at * g[1].block, .inputs = r->inputs,
                                .hidden = r->hidden, .x = x, .x_sums = x_sums ? x_sums + g[0].sums + unit : NULL,
                                .h = (const ei_f32 *)rows.reset_h};
        switch (at < g[1].blocks ? 0 : g[1].left_vectors) {
        case 0: ei_gru_n(instr, group, rows.z, h, out, unit, 4 * EI_LANES, 4); break;
        case 1: ei_gru_n(instr, group, rows.z, h, out, unit, g[1].left, 1); break;
        case 2: ei_gru_n(instr, group, rows.z, h, out, unit, g[1].left, 2); break;
        case 3: ei_gru_n(instr, group, rows.z, h, out, unit, g[1].left, 3); break;
        default: ei_gru_n(instr, group, rows.z, h, out, unit, g[1].left, 4); break;
        }
    }
}

/* Both orders. Each is compiled by itself, so that a step works out only what it needs. */
EI_INLINE ei_status ei_gru_run(const ei_instr *instr, char *const *bases, int linear)
{
    if (!ei_acts_known(instr, 2))
        return EI_BAD_PROGRAM;
    const ei_recurrent r = ei_recurrent_from(instr, bases);
    const ei_groups first = linear ? ei_gru_groups_linear(&r) : ei_gru_groups_zr(&r), second = ei_gru_groups_n(&r);
    int backward = ei_backward_first(&r);
    for (int64_t b = 0; b < r.batch; b++) {
        const ei_f32 *h = ei_initial(&r, r.h_initial, b);
        for (int64_t step = 0; step < r.steps; step++) {
            const ei_groups g[] = {first, second};
            const ei_f32 *x = ei_x_row(&r, ei_time(&r, step), b);
            const float *x_sums = NULL;
            if (r.steps > 1) {
                if (step % EI_STEPS_AHEAD == 0)
                    ei_x_sums_ahead(r, g, linear ? 1 : 2, r.steps - step, x);
                x_sums = r.ahead + step % EI_STEPS_AHEAD * (first.sums + (linear ? 0 : second.sums));
            }
            const ei_h_out out = ei_h_out_of(&r, step, b);
            if (linear)
                ei_gru_step_linear(&r, g, instr, backward, x, x_sums, h, out);
            else
                ei_gru_step_reset_first(&r, g, instr, backward, x, x_sums, h, out);
            backward = !backward;
            h = out.h;
        }
        if (r.steps == 0)
            ei_states_pass(&r, b);
    }
    return EI_OK;
}

static EI_NOINLINE ei_status ei_gru_linear(const ei_instr *instr, char *const *bases)
{
    return ei_gru_run(instr, bases, 1);
}

static EI_NOINLINE ei_status ei_gru_reset_first(const ei_instr *instr, char *const *bases)
{
    return ei_gru_run(instr, bases, 0);
}

static ei_status EI_FN(ei_gru_f32)(const ei_instr *instr, char *const *bases)
{
    return instr->dim[7] != 0 ? ei_gru_linear(instr, bases) : ei_gru_reset_first(instr, bases);
}
