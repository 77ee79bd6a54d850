/* What one instruction set can do on this machine, measured without the core: bench/roofline.c. */
#ifndef EI_ROOFLINE_H
#define EI_ROOFLINE_H

#include <stdint.h>

#include "programs.h" /* the cells */

typedef struct roofline_probes {
    const char *name;
    /* `rounds` times every accumulator times a plus b, in registers alone. Gives the MACs done. */
    double (*fma)(int64_t rounds);
    /* Reads p[0..floats) `passes` times, in pieces of so many floats from the first to the last and back by turns;
     * one piece as long as all is read forwards each time. Lengths are multiples of ROOFLINE_READ, floats one of
     * piece. Gives the bytes read. */
    double (*read)(const float *p, int64_t floats, int64_t passes, int64_t piece);
    /* `steps` steps of a cell of one block with nothing to sum: from h in memory through one fma, the joining of the
     * two segments and the activations to h in memory. */
    void (*chain)(int cell, int64_t steps);
} roofline_probes;

#define ROOFLINE_READ 256 /* floats */

/* Everything a probe computes ends here, so that the compiler keeps it. */
extern volatile float roofline_sink;

extern const roofline_probes roofline_generic, roofline_avx2, roofline_avx512, roofline_neon;

#endif
