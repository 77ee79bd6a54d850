from libc.stdint cimport int32_t, int64_t, uint8_t


cdef extern from "csrc/core.h" nogil:
    ctypedef enum ei_status:
        EI_OK
        EI_INDEX_OUT_OF_RANGE
        EI_BAD_PROGRAM
        EI_LENGTH_OUT_OF_RANGE

    ctypedef struct ei_instr:
        pass

    ctypedef struct ei_core:
        const char *name
        int32_t lanes
        ei_status (*run)(const ei_instr *code, size_t count, char *const *bases, size_t *failed) noexcept nogil
        int (*all_finite)(const float *x, size_t count) noexcept nogil

    const char *const *ei_core_names()
    const ei_core *ei_core_find(const char *name)
    int ei_core_has_vnni(const ei_core *core)

    ctypedef struct ei_step:
        int32_t state_in
        int32_t state_out
        int32_t x
        int32_t y
        int64_t x_stride
        int64_t y_stride

    ei_status ei_run_step(const ei_core *core, const ei_instr *code, size_t count, char **bases,
                          const ei_step *layout, size_t *failed)
    ei_status ei_run_steps(const ei_core *core, const ei_instr *code, size_t count, char **bases,
                           const ei_step *layout, size_t steps, size_t *failed_step, size_t *failed)

    enum:
        EI_POOL_ROWS
        EI_POOL_BASES

    ctypedef struct ei_pool:
        char *weights
        char *constants
        char *arenas
        int64_t arena_stride
        char *states
        int64_t bank
        uint8_t *live
        int64_t x_stride
        int64_t y_stride

    ei_status ei_run_pool(const ei_core *core, const ei_instr *code, size_t count, const ei_pool *pool,
                          const int64_t *slots, size_t n, char *x, char *y, size_t *failed_row, size_t *failed)
