/* Activations and the other elementwise functions of one vector. The errors promised stand in accuracy.h.
 *
 * vf_min and vf_max return their second argument where it is NaN, so a limit comes first and NaN goes through. */

/* 2^y - 1 and 2^y come from the same pieces: y = n + r with n whole and |r| <= 1/2, and 2^r - 1 = r q(r), so that
 * 2^y - 1 = 2^n r q(r) + (2^n - 1). Of the polynomials with float coefficients, q has the least relative error of 2^r
 * on [-1/2, 1/2]: 3.2e-9. 2^n must be a normal float. */
typedef struct ei_exp2 {
    vf scale;    /* 2^n */
    vf scaled_r; /* 2^n r */
    vf q;        /* q(r) */
} ei_exp2;

EI_INLINE vf ei_exp2_poly(vf r)
{
    const vf r2 = vf_mul(r, r);
    const vf high = vf_fma(vf_set1(0.000152925568f), r, vf_set1(0.0013390152f));
    const vf mid = vf_fma(vf_set1(0.00961864926f), r, vf_set1(0.0555036142f));
    const vf low = vf_fma(vf_set1(0.240226462f), r, vf_set1(0.693147182f));
    return vf_fma(vf_fma(high, r2, mid), r2, low);
}

/* Added to a float in [-2^21, 2^21], it leaves the nearest whole number in the lowest bits. */
#define EI_ROUND 12582912.0f /* 1.5 * 2^23 */

EI_INLINE ei_exp2 ei_exp2_parts(vf y)
{
    const vf rounded = vf_add(y, vf_set1(EI_ROUND));
    const vf r = vf_sub(y, vf_sub(rounded, vf_set1(EI_ROUND)));
    const vf scale = vf_pow2(rounded);
    return (ei_exp2){.scale = scale, .scaled_r = vf_mul(scale, r), .q = ei_exp2_poly(r)};
}

/* 1 + e^-x, finite: sigmoid's denominator. */
EI_INLINE vf ei_sigmoid_below(vf x)
{
    const vf y = vf_mul(x, vf_set1(-1.44269504f));
    const ei_exp2 e = ei_exp2_parts(vf_max(vf_set1(-126.0f), vf_min(vf_set1(126.0f), y)));
    return vf_fma(e.scaled_r, e.q, vf_add(e.scale, vf_set1(1.0f)));
}

/* e^2x - 1, which divided by itself plus 2 is tanh(x); near 0 it keeps the precision of x. Past 2^26 tanh is 1. */
EI_INLINE vf ei_tanh_above(vf x)
{
    const vf y = vf_mul(x, vf_set1(2.88539008f));
    const ei_exp2 e = ei_exp2_parts(vf_max(vf_set1(-27.0f), vf_min(vf_set1(27.0f), y)));
    return vf_fma(e.scaled_r, e.q, vf_sub(e.scale, vf_set1(1.0f)));
}

EI_INLINE vf ei_sigmoid(vf x) { return vf_div(vf_set1(1.0f), ei_sigmoid_below(x)); }

EI_INLINE vf ei_tanh(vf x)
{
    const vf above = ei_tanh_above(x);
    return vf_div(above, vf_add(above, vf_set1(2.0f)));
}

/* x = n ln 2 + remainder, ln 2 split so that n times its upper part is exact. 2^n is applied as two factors, since
 * n runs from -150 to 128 and results below the normal floats are rounded to subnormal ones or 0. */
EI_INLINE vf ei_exp(vf x)
{
    const vf limited = vf_max(vf_set1(-104.0f), vf_min(vf_set1(89.0f), x));
    const vf n = vf_sub(vf_fma(limited, vf_set1(1.44269504f), vf_set1(EI_ROUND)), vf_set1(EI_ROUND));
    vf remainder = vf_fma(n, vf_set1(-0.693359375f), limited);
    remainder = vf_fma(n, vf_set1(2.12194440e-4f), remainder);
    const vf r = vf_mul(remainder, vf_set1(1.44269504f));
    const vf value = vf_fma(r, ei_exp2_poly(r), vf_set1(1.0f));
    const vf half = vf_add(vf_mul(n, vf_set1(0.5f)), vf_set1(EI_ROUND));
    const vf rest = vf_add(vf_sub(n, vf_sub(half, vf_set1(EI_ROUND))), vf_set1(EI_ROUND));
    return vf_mul(vf_mul(value, vf_pow2(half)), vf_pow2(rest));
}

EI_INLINE float ei_softplus_scalar(float x) { return (x < 0.0f ? 0.0f : x) + log1pf(expf(-fabsf(x))); }

#define EI_LANE_BY_LANE(function, x)          \
    do {                                      \
        float lane_[EI_LANES];                \
        vf_storeu(lane_, x);                  \
        for (int i_ = 0; i_ < EI_LANES; i_++) \
            lane_[i_] = function(lane_[i_]);  \
        x = vf_loadu(lane_);                  \
    } while (0)

static EI_NOINLINE vf ei_act_other(int32_t act, float alpha, float beta, vf x)
{
    const vf a = vf_set1(alpha), b = vf_set1(beta), zero = vf_set1(0.0f), one = vf_set1(1.0f);
    switch (act) {
    case EI_ACT_AFFINE: return vf_fma(a, x, b);
    case EI_ACT_LEAKY_RELU: return vf_select_lt(x, zero, vf_mul(a, x), x);
    case EI_ACT_THRESHOLDED_RELU: return vf_select_lt(a, x, x, zero);
    case EI_ACT_SCALED_TANH: return vf_mul(a, ei_tanh(vf_mul(b, x)));
    case EI_ACT_HARD_SIGMOID: return vf_max(zero, vf_min(one, vf_fma(a, x, b)));
    case EI_ACT_ELU: return vf_select_lt(x, zero, vf_mul(a, vf_sub(ei_exp(x), one)), x);
    case EI_ACT_SOFTSIGN: return vf_div(x, vf_add(one, vf_abs(x)));
    case EI_ACT_SOFTPLUS: EI_LANE_BY_LANE(ei_softplus_scalar, x); return x;
    case EI_ACT_EXP: return ei_exp(x);
    case EI_ACT_LOG: EI_LANE_BY_LANE(logf, x); return x;
    case EI_ACT_NEG: return vf_neg(x);
    case EI_ACT_ABS: return vf_abs(x);
    case EI_ACT_SQRT: return vf_sqrt(x);
    case EI_ACT_RECIPROCAL: return vf_div(one, x);
    case EI_ACT_CLIP: return vf_max(a, vf_min(b, x));
    case EI_ACT_ERF: EI_LANE_BY_LANE(erff, x); return x;
    default: return x;
    }
}

EI_INLINE vf ei_act_apply(int32_t act, float alpha, float beta, vf x)
{
    switch (act) {
    case EI_ACT_LINEAR: return x;
    case EI_ACT_SIGMOID: return ei_sigmoid(x);
    case EI_ACT_TANH: return ei_tanh(x);
    case EI_ACT_RELU: return vf_max(vf_set1(0.0f), x);
    default: return ei_act_other(act, alpha, beta, x);
    }
}

/* Activation k of the instruction. */
EI_INLINE vf ei_activate(const ei_instr *instr, int k, vf x)
{
    return ei_act_apply(instr->act[k], instr->alpha[k], instr->beta[k], x);
}

/* The same, but only the usual one inline: `usual` is a constant. Inlined everywhere, all of them would be half of the
 * core's code. */
static EI_NOINLINE vf ei_activate_other(const ei_instr *instr, int k, vf x) { return ei_activate(instr, k, x); }

EI_INLINE vf ei_activate_usual(const ei_instr *instr, int k, int32_t usual, vf x)
{
    return instr->act[k] == usual ? ei_act_apply(usual, 0.0f, 0.0f, x) : ei_activate_other(instr, k, x);
}

static int ei_acts_known(const ei_instr *instr, int count)
{
    for (int k = 0; k < count; k++) {
        const int32_t act = instr->act[k];
        const int named = act >= EI_ACT_LINEAR && act <= EI_ACT_SOFTPLUS;
        if (!named && !(act >= EI_ACT_EXP && act <= EI_ACT_ERF))
            return 0;
    }
    return 1;
}
