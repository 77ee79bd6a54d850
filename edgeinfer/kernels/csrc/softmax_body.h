/* Softmax and log softmax over the last axis. A NaN, +inf, or nothing but -inf in a row gives NaN in all of it. */

#define EI_SOFTMAX_CHUNK 64 /* vectors summed before they join the total, which bounds the rounding of long rows */

EI_INLINE float ei_lanes_maximum(vf v)
{
    float lane[EI_LANES];
    vf_storeu(lane, v);
    for (int n = EI_LANES / 2; n > 0; n /= 2)
        for (int i = 0; i < n; i++)
            lane[i] = lane[i] > lane[i + n] ? lane[i] : lane[i + n];
    return lane[0];
}

/* Vector i of the row; past its end -inf, which neither raises the maximum nor adds to the sum. */
EI_INLINE vf ei_softmax_load(const ei_f32 *x, int64_t i, int64_t n)
{
    return n - i >= EI_LANES ? vf_loadu(x + i) : vf_load_part(x + i, n - i, vf_set1(-INFINITY));
}

static void ei_softmax_row(const ei_f32 *x, ei_f32 *out, int64_t n, int log)
{
    vf largest = vf_set1(-INFINITY), total = vf_set1(0.0f);
    for (int64_t i = 0; i < n; i += EI_LANES)
        largest = vf_max(ei_softmax_load(x, i, n), largest);
    const vf maximum = vf_set1(ei_lanes_maximum(largest));
    for (int64_t i = 0; i < n;) {
        vf sum = vf_set1(0.0f);
        for (int k = 0; k < EI_SOFTMAX_CHUNK && i < n; k++, i += EI_LANES) {
            const vf e = ei_exp(vf_sub(ei_softmax_load(x, i, n), maximum));
            sum = vf_add(sum, e);
            if (!log)
                ei_vector_write(out + i, e, n - i);
        }
        total = vf_add(total, sum);
    }
    const float sum = vf_sum(total);
    const vf below = vf_set1(sum), log_sum = vf_set1(logf(sum));
    for (int64_t i = 0; i < n; i += EI_LANES) {
        const vf v = ei_softmax_load(log ? x : out, i, n);
        ei_vector_write(out + i, log ? vf_sub(vf_sub(v, maximum), log_sum) : vf_div(v, below), n - i);
    }
}

static EI_NOINLINE ei_status EI_FN(ei_softmax_f32)(const ei_instr *instr, char *const *bases)
{
    const int64_t rows = instr->dim[0], n = instr->dim[1];
    const ei_f32 *x = (const ei_f32 *)ei_in(instr, bases, 0);
    ei_f32 *out = (ei_f32 *)ei_out(instr, bases, 0);
    for (int64_t row = 0; row < rows; row++)
        ei_softmax_row(x + row * n, out + row * n, n, instr->dim[2] != 0);
    return EI_OK;
}
