# Single steps of a model that carries its state. Part of native.pyx.

cdef class Stepper(Engine):
    """A program for single steps, its state, and the memory it works in.

    The state is double-buffered: a step that fails leaves the present one as it was.
    """

    cdef object _owners
    cdef Py_ssize_t _state_bytes
    cdef char *_bases[MAX_BASES]
    cdef core.ei_step _layout
    cdef char *_backup

    def __cinit__(self, Program program, object convert, object x_dtype, tuple x_shape, tuple y_shape,
                  Py_ssize_t state_bytes, bint reject_nonfinite):
        """convert: as Engine has it."""
        cdef cnp.ndarray arena, states, backup
        self._take_shapes(program, convert, x_dtype, x_shape, y_shape, reject_nonfinite)
        if len(program.base_bytes) != FIRST_IO + 2:
            raise ValueError("a stepping program has one input and one output record")
        self._state_bytes = state_bytes
        bytes_needed = program.base_bytes
        if (bytes_needed[FIRST_IO] > self._x_bytes or bytes_needed[FIRST_IO + 1] > self._y_bytes
                or bytes_needed[STATE_IN] > state_bytes or bytes_needed[STATE_OUT] > state_bytes):
            raise ValueError("memory shorter than the plan says")
        bank = -(-state_bytes // 64) * 64
        arena, states, backup = _aligned(bytes_needed[ARENA]), _aligned(2 * bank), _aligned(bank)
        states[:] = 0
        self._owners = (arena, states, backup)
        self._bases[WEIGHTS] = program._weights
        self._bases[CONSTANTS] = program._constants
        self._bases[ARENA] = <char *> cnp.PyArray_DATA(arena)
        self._bases[STATE_IN] = <char *> cnp.PyArray_DATA(states)
        self._bases[STATE_OUT] = self._bases[STATE_IN] + <Py_ssize_t> bank
        self._layout.state_in, self._layout.state_out = STATE_IN, STATE_OUT
        self._layout.x, self._layout.y = FIRST_IO, FIRST_IO + 1
        self._layout.x_stride, self._layout.y_stride = self._x_bytes, self._y_bytes
        self._backup = <char *> cnp.PyArray_DATA(backup)

    cdef int _advance(self, const char *x, char *y, Py_ssize_t steps) except -1:
        cdef core.ei_status status
        cdef size_t failed_step = 0, failed = 0
        self._bases[FIRST_IO] = <char *> x
        self._bases[FIRST_IO + 1] = y
        if steps == 1 and self._program.macs < self._program._short_macs:
            status = core.ei_run_step(self._program._core, self._program._code, self._program._count, self._bases,
                                      &self._layout, &failed)
            if status != core.EI_OK:
                _raise(self._program, status, failed)
            return 1
        if steps > 1:
            memcpy(self._backup, self._bases[STATE_IN], self._state_bytes)
        if self._program.macs * steps < self._program._short_macs:
            status = core.ei_run_steps(self._program._core, self._program._code, self._program._count, self._bases,
                                       &self._layout, steps, &failed_step, &failed)
        else:
            with nogil:
                status = core.ei_run_steps(self._program._core, self._program._code, self._program._count,
                                           self._bases, &self._layout, steps, &failed_step, &failed)
        if status != core.EI_OK:
            if steps > 1:
                memcpy(self._bases[STATE_IN], self._backup, self._state_bytes)
            _raise(self._program, status, failed, f" at step {failed_step}" if steps > 1 else "")
        return 1

    def get_state(self):
        """A copy of the state's bytes."""
        cdef cnp.ndarray copy = np.empty(self._state_bytes, np.uint8)
        memcpy(cnp.PyArray_DATA(copy), self._bases[STATE_IN], self._state_bytes)
        return copy

    def set_state(self, cnp.ndarray state):
        """Replace the state by bytes that get_state gave."""
        if (cnp.PyArray_TYPE(state) != cnp.NPY_UINT8 or state.size != self._state_bytes
                or not cnp.PyArray_ISCARRAY_RO(state)):
            raise StreamError(f"expected {self._state_bytes} bytes of state, got {state.nbytes}")
        memcpy(self._bases[STATE_IN], cnp.PyArray_DATA(state), self._state_bytes)
