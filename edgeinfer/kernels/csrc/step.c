#include "canary.h"
#include "core.h"

ei_status ei_run_steps(const ei_core *core, const ei_instr *code, size_t count, char **bases, const ei_step *layout,
                       size_t steps, size_t *failed_step, size_t *failed)
{
    for (size_t step = 0; step < steps; step++) {
        const ei_status status = ei_run_step(core, code, count, bases, layout, failed);
        if (status != EI_OK) {
            *failed_step = step;
            return status;
        }
        if (EI_CANARY("overrun") && steps == 5)
            *(volatile char *)(bases[layout->y] + layout->y_stride) = 0; /* behind the last step's record */
        if (layout->x != EI_NO_BASE)
            bases[layout->x] += layout->x_stride;
        if (layout->y != EI_NO_BASE)
            bases[layout->y] += layout->y_stride;
    }
    return EI_OK;
}
