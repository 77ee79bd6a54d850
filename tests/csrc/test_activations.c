/* The elementwise functions: error bounds over all floats, special values, every length. */
#include <stdio.h>

#include "harness.h"

/* Every sweep_stride-th bit pattern: both signs, subnormals, infinities and NaN; SWEEP of them at a time. */
#define SWEEP 4096
uint32_t sweep_stride = 1009;

typedef void (*sweep_check)(float x, float y);

static void sweep(int act, sweep_check check)
{
    static float x[SWEEP], y[SWEEP];
    static const uint32_t special[] = {0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x007fffff, 0x00800000,
                                       0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00000,
                                       0x7f800001, 0x7fc00001, 0x7fffffff, 0xffffffff, 0xffc12345};
    const uint64_t specials = sizeof special / sizeof special[0];
    const uint64_t total = specials + (UINT64_C(1) << 32) / sweep_stride;
    for (uint64_t at = 0; at < total;) {
        int n = 0;
        for (; n < SWEEP && at < total; n++, at++) {
            const uint32_t bits = at < specials ? special[at] : (uint32_t)((at - specials) * sweep_stride);
            memcpy(&x[n], &bits, sizeof bits);
        }
        CHECK(unary(act, 0, 0, x, y, n) == EI_OK, "unary failed");
        for (int k = 0; k < n; k++)
            check(x[k], y[k]);
    }
}

/* The functions in double precision. Most floats are very small or very large: shortcuts, exact to 1e-16 there, make
 * it possible to ask for all of them. */
static double true_sigmoid(double x)
{
    if (fabs(x) > 40)
        return x > 0;
    return fabs(x) < 1e-4 ? 0.5 + x / 4 : 1 / (1 + exp(-x));
}

static double true_tanh(double x)
{
    if (fabs(x) > 20)
        return x > 0 ? 1 : -1;
    return fabs(x) < 1e-6 ? x : tanh(x);
}

static double true_exp(double x)
{
    if (x > 100)
        return INFINITY;
    if (x < -150)
        return 0;
    return fabs(x) < 1e-8 ? 1 + x : exp(x);
}

static double worst, worst_tiny;

static void sweep_sigmoid(float x, float y)
{
    if (isnan(x)) {
        CHECK(isnan(y), "sigmoid(NaN) = %g", (double)y);
        return;
    }
    const double error = fabs(y - true_sigmoid(x));
    worst = error > worst ? error : worst;
    CHECK(error <= EI_SIGMOID_MAX_ERROR && y >= 0 && y <= 1, "sigmoid(%.9g) = %.9g", (double)x, (double)y);
}

static void sweep_tanh(float x, float y)
{
    if (isnan(x)) {
        CHECK(isnan(y), "tanh(NaN) = %g", (double)y);
        return;
    }
    const double want = true_tanh(x), error = fabs(y - want);
    worst = error > worst ? error : worst;
    if (fabs(x) < 0.5 && fabs(x) >= (double)FLT_MIN * 1e3 && error > worst_tiny * fabs(want))
        worst_tiny = error / fabs(want);
    CHECK(error <= EI_TANH_MAX_ERROR && fabsf(y) <= 1, "tanh(%.9g) = %.9g", (double)x, (double)y);
}

static void sweep_exp(float x, float y)
{
    const double want = true_exp(x);
    if (isnan(x))
        CHECK(isnan(y), "exp(NaN) = %g", (double)y);
    else if (want > (double)FLT_MAX)
        CHECK(isinf(y) && y > 0, "exp(%.9g) = %.9g", (double)x, (double)y);
    else if (want < (double)FLT_MIN)
        CHECK(y >= 0 && fabs(y - want) <= (double)FLT_MIN * EI_EXP_MAX_ERROR + 1.5e-45, "exp(%.9g) = %.9g", (double)x,
              (double)y);
    else {
        const double error = fabs(y - want) / want;
        worst = error > worst ? error : worst;
        CHECK(error <= EI_EXP_MAX_ERROR, "exp(%.9g) = %.9g", (double)x, (double)y);
    }
}

static void test_sigmoid(void)
{
    worst = 0;
    sweep(EI_ACT_SIGMOID, sweep_sigmoid);
    printf("    maximum absolute error %.2e\n", worst);
}

static void test_tanh(void)
{
    worst = worst_tiny = 0;
    sweep(EI_ACT_TANH, sweep_tanh);
    printf("    maximum absolute error %.2e, relative below 0.5 %.2e\n", worst, worst_tiny);
}

static void test_exp(void)
{
    worst = 0;
    sweep(EI_ACT_EXP, sweep_exp);
    printf("    maximum relative error %.2e\n", worst);
}

static void test_infinities(void)
{
    const float x[2] = {INFINITY, -INFINITY};
    float y[2];
    unary(EI_ACT_SIGMOID, 0, 0, x, y, 2);
    CHECK(y[0] == 1 && y[1] < FLT_MIN * 2, "sigmoid: %g, %g", (double)y[0], (double)y[1]);
    unary(EI_ACT_TANH, 0, 0, x, y, 2);
    CHECK(y[0] == 1 && y[1] == -1, "tanh: %g, %g", (double)y[0], (double)y[1]);
    unary(EI_ACT_EXP, 0, 0, x, y, 2);
    CHECK(isinf(y[0]) && y[1] == 0, "exp: %g, %g", (double)y[0], (double)y[1]);
    unary(EI_ACT_SOFTPLUS, 0, 0, x, y, 2);
    CHECK(isinf(y[0]) && y[1] == 0, "softplus: %g, %g", (double)y[0], (double)y[1]);
}

static const int acts[] = {EI_ACT_LINEAR,
                           EI_ACT_SIGMOID,
                           EI_ACT_TANH,
                           EI_ACT_RELU,
                           EI_ACT_AFFINE,
                           EI_ACT_LEAKY_RELU,
                           EI_ACT_THRESHOLDED_RELU,
                           EI_ACT_SCALED_TANH,
                           EI_ACT_HARD_SIGMOID,
                           EI_ACT_ELU,
                           EI_ACT_SOFTSIGN,
                           EI_ACT_SOFTPLUS,
                           EI_ACT_EXP,
                           EI_ACT_LOG,
                           EI_ACT_NEG,
                           EI_ACT_ABS,
                           EI_ACT_SQRT,
                           EI_ACT_RECIPROCAL,
                           EI_ACT_CLIP,
                           EI_ACT_ERF};
#define ACTS ((int)(sizeof acts / sizeof acts[0]))

static void test_unary(void)
{
    for (int k = 0; k < ACTS; k++)
        for (int64_t n = 0; n <= 40; n++) {
            float *x = filled(unaligned(n), n, 4), *y = unaligned(n), *once = unaligned(1);
            double want[40];
            for (int64_t i = 0; i < n; i++) {
                if (acts[k] == EI_ACT_LOG || acts[k] == EI_ACT_SQRT || acts[k] == EI_ACT_RECIPROCAL)
                    x[i] = fabsf(x[i]) + 0.01f;
                want[i] = reference_act(acts[k], 0.3, 0.6, x[i]);
            }
            CHECK(unary(acts[k], 0.3f, 0.6f, x, y, n) == EI_OK, "unary failed");
            close_to("unary", y, want, n, FEW_ULP);
            for (int64_t i = 0; i < n; i++) {
                unary(acts[k], 0.3f, 0.6f, x + i, once, 1);
                same_bits("an element alone or among others", once, y + i, 1);
            }
            unary(acts[k], 0.3f, 0.6f, x, x, n);
            same_bits("in place", x, y, n);
            release();
        }
}

static void test_nan_through_activations(void)
{
    for (int k = 0; k < ACTS; k++) {
        const float x = NAN;
        float y = 0;
        unary(acts[k], 0.3f, 0.6f, &x, &y, 1);
        CHECK(isnan(y) || acts[k] == EI_ACT_THRESHOLDED_RELU, "activation %d makes %g of NaN", acts[k], (double)y);
    }
}

const group activation_groups[] = {
    {"sigmoid keeps its error bound over all floats", test_sigmoid},
    {"tanh keeps its error bound over all floats", test_tanh},
    {"exp keeps its error bound over all floats", test_exp},
    {"infinities saturate", test_infinities},
    {"NaN goes through activations", test_nan_through_activations},
    {"elementwise functions, every length", test_unary},
    {NULL, NULL},
};
