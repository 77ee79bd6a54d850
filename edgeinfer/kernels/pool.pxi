# One step of many streams in one call. Part of native.pyx.

cdef class Slots:
    """The states of many streams of one program, each in two banks, and the memory that a step of them works in."""

    cdef Program _program
    cdef object _convert
    cdef object _refuse
    cdef object _x_dtype
    cdef object _owners
    cdef tuple _x_shape, _y_shape
    cdef int _x_rank
    cdef bint _reject
    cdef Py_ssize_t _capacity, _state_bytes
    cdef core.ei_pool _pool
    cdef uint8_t *_used
    cdef int64_t *_seen
    cdef int64_t _calls

    def __cinit__(self, Program program, object convert, tuple x_shape, tuple y_shape, Py_ssize_t state_bytes,
                  bint reject_nonfinite, cnp.ndarray used, object refuse):
        """convert: as Engine has it. used: uint8 [capacity], the slots in use. refuse(slots, position) raises for one
        that is out of range, not in use, or came before.
        """
        cdef cnp.ndarray arenas, states, live, seen
        cdef Py_ssize_t capacity = used.size
        needed = program.base_bytes
        if len(needed) != core.EI_POOL_BASES:
            raise ValueError("a stepping program has one input and one output record")
        if cnp.PyArray_TYPE(used) != cnp.NPY_UINT8 or not cnp.PyArray_ISCARRAY_RO(used):
            raise ValueError("used: expected uint8 in C order")
        self._program, self._convert, self._refuse = program, convert, refuse
        self._x_shape, self._y_shape, self._x_rank = x_shape, y_shape, len(x_shape)
        self._x_dtype = np.dtype(convert.dtype)
        self._reject = reject_nonfinite and self._x_dtype.kind == "f"
        self._capacity, self._state_bytes = capacity, state_bytes
        self._pool.x_stride = _product(x_shape) * self._x_dtype.itemsize
        self._pool.y_stride = _product(y_shape) * 4
        if (needed[FIRST_IO] > self._pool.x_stride or needed[FIRST_IO + 1] > self._pool.y_stride
                or needed[STATE_IN] > state_bytes or needed[STATE_OUT] > state_bytes):
            raise ValueError("memory shorter than the plan says")
        self._pool.bank = -(-state_bytes // 64) * 64
        self._pool.arena_stride = -(-needed[ARENA] // 64) * 64
        arenas = _aligned(core.EI_POOL_ROWS * self._pool.arena_stride)
        states = _aligned(2 * capacity * self._pool.bank)
        live, seen = np.zeros(capacity, np.uint8), np.zeros(capacity, np.int64)
        self._owners = (arenas, states, live, used, seen)
        self._pool.weights, self._pool.constants = program._weights, program._constants
        self._pool.arenas = <char *> cnp.PyArray_DATA(arenas)
        self._pool.states = <char *> cnp.PyArray_DATA(states)
        self._pool.live = <uint8_t *> cnp.PyArray_DATA(live)
        self._used = <uint8_t *> cnp.PyArray_DATA(used)
        self._seen = <int64_t *> cnp.PyArray_DATA(seen)
        self._calls = 0

    def step(self, cnp.ndarray slots, x, out, finish):
        """One step of each of the slots (int64 [n]) with its row of x [n, *x_shape]: float32 [n, *y_shape].

        finish: as Engine.step has it.
        """
        cdef Py_ssize_t n = slots.shape[0]
        cdef const int64_t *which = <const int64_t *> cnp.PyArray_DATA(slots)
        cdef cnp.ndarray xs, y
        cdef char *x_data
        cdef char *y_data
        cdef core.ei_status status
        cdef size_t row = 0, failed = 0
        cdef Py_ssize_t i
        if cnp.PyArray_TYPE(slots) != cnp.NPY_INT64 or not cnp.PyArray_ISCARRAY_RO(slots) or slots.ndim != 1:
            raise ValueError("slots: expected int64 [n] in C order")
        self._calls += 1
        for i in range(n):
            if (not 0 <= which[i] < self._capacity or not self._used[which[i]]
                    or self._seen[which[i]] == self._calls):
                self._refuse(slots, i)
            self._seen[which[i]] = self._calls
        xs = _settled(<cnp.ndarray> x if self._fits(x, n) else self._convert.rows(x, n))
        if self._reject and not self._program._core.all_finite(<const float *> cnp.PyArray_DATA(xs), xs.size):
            self._convert.refuse(xs, True)
        y = np.empty((n, *self._y_shape), np.float32) if out is None else out
        x_data, y_data = <char *> cnp.PyArray_DATA(xs), <char *> cnp.PyArray_DATA(y)
        if cnp.PyArray_NBYTES(y) != n * self._pool.y_stride or not cnp.PyArray_ISCARRAY(y):
            raise ValueError("out: a record for every slot in C order")
        if x_data < y_data + n * self._pool.y_stride and y_data < x_data + n * self._pool.x_stride:
            raise InputError("out: expected memory of its own, got an array that overlaps the input", name="out")
        answer = y if finish is None else finish(y)
        with nogil:
            status = core.ei_run_pool(self._program._core, self._program._code, self._program._count, &self._pool,
                                      which, n, x_data, y_data, &row, &failed)
        if status != core.EI_OK:
            _raise(self._program, status, failed, f" in row {row}")
        return answer

    cdef bint _fits(self, x, Py_ssize_t n):
        """Whether it is an array of n inputs that needs no conversion."""
        cdef int i
        if (type(x) is not cnp.ndarray or cnp.PyArray_TYPE(<cnp.ndarray> x) != self._x_dtype.num
                or cnp.PyArray_NDIM(<cnp.ndarray> x) != self._x_rank + 1
                or not cnp.PyArray_ISCARRAY_RO(<cnp.ndarray> x) or cnp.PyArray_DIM(<cnp.ndarray> x, 0) != n):
            return False
        for i in range(self._x_rank):
            if cnp.PyArray_DIM(<cnp.ndarray> x, i + 1) != <Py_ssize_t> self._x_shape[i]:
                return False
        return True

    def get_state(self, Py_ssize_t slot):
        """A copy of a slot's bytes."""
        cdef cnp.ndarray copy = np.empty(self._state_bytes, np.uint8)
        memcpy(cnp.PyArray_DATA(copy), self._bank(slot), self._state_bytes)
        return copy

    def set_state(self, Py_ssize_t slot, cnp.ndarray state):
        """Replace a slot's state by bytes that get_state, or a Stepper's, gave."""
        if (cnp.PyArray_TYPE(state) != cnp.NPY_UINT8 or state.size != self._state_bytes
                or not cnp.PyArray_ISCARRAY_RO(state)):
            raise StreamError(f"expected {self._state_bytes} bytes of state, got {state.nbytes}")
        memcpy(self._bank(slot), cnp.PyArray_DATA(state), self._state_bytes)

    cdef char *_bank(self, Py_ssize_t slot) except NULL:
        if not 0 <= slot < self._capacity:
            raise IndexError(slot)
        return self._pool.states + (2 * slot + self._pool.live[slot]) * self._pool.bank
