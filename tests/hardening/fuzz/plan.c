/* Any instruction that core.h allows, or one with a field that it does not know, on any core: nothing beside an operand
 * is touched, inputs stay as they are, outputs are written whole and do not depend on what memory held before. */
#include <string.h>

#include "program.h"

static void fill_outputs(const program *p, int garbage)
{
    for (int k = OUT0; k < OPERANDS; k++)
        if (p->bases[k] != NULL)
            memset(p->bases[k], garbage, p->bytes[k]);
    if (p->code.in_base[4] != EI_NO_BASE) /* a cell's scratch */
        memset(p->bases[4], garbage, p->bytes[4]);
}

static int is_scratch(const program *p, int k) { return k == 4 && p->code.in_base[4] != EI_NO_BASE; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    program p;
    char *copies[OPERANDS] = {0};
    size_t failed = 7;
    begin(data, size);
    const ei_core *const core = any_core();
    make_program(&p, core);
    for (int k = 0; k < OUT0; k++)
        if (p.bases[k] != NULL && !is_scratch(&p, k))
            copies[k] = memcpy(memory(p.bytes[k], 0), p.bases[k], p.bytes[k]);
    fill_outputs(&p, 0x5A);
    const ei_status status = core->run(&p.code, 1, p.bases, &failed);
    if (p.faulty ? status != EI_OK && status != EI_BAD_PROGRAM && status != p.expected : status != p.expected)
        finding("another status than expected", &p.code);
    if (status != EI_OK && failed != 0)
        finding("which instruction failed is not said", &p.code);
    for (int k = 0; k < OUT0; k++)
        if (copies[k] != NULL && memcmp(copies[k], p.bases[k], p.bytes[k]) != 0)
            finding("an input was changed", &p.code);
    if (status == EI_OK && !p.faulty) {
        for (int k = OUT0; k < OPERANDS; k++)
            if (p.bases[k] != NULL)
                copies[k] = memcpy(memory(p.bytes[k], 0), p.bases[k], p.bytes[k]);
        fill_outputs(&p, 0xA5);
        core->run(&p.code, 1, p.bases, &failed);
        for (int k = OUT0; k < OPERANDS; k++) {
            size_t same = 0;
            for (size_t i = 0; copies[k] != NULL && i < p.bytes[k]; i++)
                same += copies[k][i] == p.bases[k][i];
            if (copies[k] != NULL && same != p.written[k - OUT0])
                finding("an output was not written whole, or depends on what memory held", &p.code);
        }
    }
    release();
    return 0;
}
