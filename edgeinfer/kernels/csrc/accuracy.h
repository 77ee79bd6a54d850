/* The errors of the approximations in activations_body.h: what is promised, and the worst that was measured over
 * every float32 on any instruction set. The tests in tests/csrc read these constants. */
#ifndef EI_ACCURACY_H
#define EI_ACCURACY_H

/* Absolute, over all finite floats. NaN gives NaN, infinities the limits. */
#define EI_SIGMOID_MAX_ERROR 3e-7 /* measured: 9.4e-8 */
#define EI_TANH_MAX_ERROR 3e-7    /* measured: 1.6e-7 */
/* Relative, wherever the true result is a normal float; below that the result loses bits down to 0, above it is
 * infinite. */
#define EI_EXP_MAX_ERROR 1e-6 /* measured: 1.3e-7 */

#endif
