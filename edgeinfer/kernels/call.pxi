# Whole sequences from a zero state, for one choice of input shapes. Part of native.pyx.

cdef class Call:
    """A program whose one input besides states comes as an array of its own form: no conversion, no names.

    Any number of threads may call it at once; the first of them works in memory that is kept.
    """

    cdef Program _program
    cdef int _x_type, _x_rank, _x_base
    cdef bint _reject, _in_use
    cdef cnp.npy_intp _x_dims[MAX_RANK + 1]
    cdef Py_ssize_t _x_count
    cdef tuple _outputs
    cdef cnp.ndarray _kept, _zeros
    cdef Py_ssize_t _arena_bytes, _spare_bytes
    cdef tuple _states, _spares

    def __cinit__(self, Program program, object x_dtype, tuple x_shape, bint reject_nonfinite, int x_base,
                  tuple states, tuple outputs, tuple spares):
        """x_base: the base of the input; states: those of the others, which are zero. outputs: (base, shape, dtype) of
        those that are given back; spares: the bases of the others.
        """
        needed = program.base_bytes
        self._program = program
        self._x_type = np.dtype(x_dtype).num
        self._x_rank = len(x_shape)
        if self._x_rank > MAX_RANK or any(len(shape) > MAX_RANK for _, shape, _ in outputs):
            raise ValueError(f"at most {MAX_RANK} dimensions")
        self._x_count = 1
        for i in range(self._x_rank):
            self._x_dims[i] = x_shape[i]
            self._x_count *= x_shape[i]
        self._reject = reject_nonfinite and np.dtype(x_dtype).kind == "f"
        self._x_base = x_base
        self._states, self._spares = states, spares
        self._outputs = tuple((base, shape, np.dtype(dtype).num) for base, shape, dtype in outputs)
        if (needed[self._x_base] > self._x_count * np.dtype(x_dtype).itemsize
                or any(needed[base] > np.dtype(dtype).itemsize * _product(shape)
                       for base, shape, dtype in outputs)):
            raise ValueError("memory shorter than the plan says")
        self._zeros = _aligned(max([needed[base] for base in states], default=0))
        self._zeros[:] = 0
        self._arena_bytes = -(-needed[ARENA] // 64) * 64
        self._spare_bytes = sum(-(-needed[base] // 64) * 64 for base in spares)
        self._kept = _aligned(self._arena_bytes + self._spare_bytes)

    def __call__(self, x):
        """The outputs for an array of exactly this dtype, shape and layout: one array, or a tuple. None for anything
        else, which the slow way converts or refuses.
        """
        cdef cnp.ndarray array
        cdef bint first
        cdef int i
        if type(x) is not cnp.ndarray:
            return None
        array = <cnp.ndarray> x
        if (cnp.PyArray_TYPE(array) != self._x_type or cnp.PyArray_NDIM(array) != self._x_rank
                or not cnp.PyArray_ISCARRAY_RO(array)):
            return None
        for i in range(self._x_rank):
            if cnp.PyArray_DIM(array, i) != self._x_dims[i]:
                return None
        if self._reject and not self._program._core.all_finite(<const float *> cnp.PyArray_DATA(array),
                                                               self._x_count):
            return None
        # Taken at once: what comes next may run the collector, and that anything, another thread's call too.
        first = not self._in_use
        self._in_use = True
        try:
            return self._on(array, self._kept if first else _aligned(self._arena_bytes + self._spare_bytes))
        finally:
            if first:
                self._in_use = False

    cdef _on(self, cnp.ndarray array, cnp.ndarray memory):
        cdef char *bases[MAX_BASES]
        cdef cnp.npy_intp dims[MAX_RANK + 1]
        cdef Py_ssize_t offset
        cdef int i, base
        cdef list found = []
        if self._program.macs >= self._program._short_macs:
            array = _settled(array)
        bases[WEIGHTS], bases[CONSTANTS] = self._program._weights, self._program._constants
        bases[ARENA] = <char *> cnp.PyArray_DATA(memory)
        bases[STATE_IN] = bases[STATE_OUT] = NULL
        bases[self._x_base] = <char *> cnp.PyArray_DATA(array)
        for base in self._states:
            bases[base] = <char *> cnp.PyArray_DATA(self._zeros)
        offset = self._arena_bytes
        for base in self._spares:
            bases[base] = bases[ARENA] + offset
            offset += -(-<Py_ssize_t> self._program.base_bytes[base] // 64) * 64
        for base, shape, number in self._outputs:
            for i in range(len(<tuple> shape)):
                dims[i] = (<tuple> shape)[i]
            y = cnp.PyArray_EMPTY(<int> len(<tuple> shape), dims, number, 0)
            bases[base] = <char *> cnp.PyArray_DATA(<cnp.ndarray> y)
            found.append(y)
        self._run(bases)
        return found[0] if len(found) == 1 else tuple(found)

    cdef int _run(self, char **bases) except -1:
        cdef core.ei_status status
        cdef size_t failed = 0
        if self._program.macs < self._program._short_macs:
            status = self._program._core.run(self._program._code, self._program._count, bases, &failed)
        else:
            with nogil:
                status = self._program._core.run(self._program._code, self._program._count, bases, &failed)
        if status != core.EI_OK:
            _raise(self._program, status, failed)
        return 0
