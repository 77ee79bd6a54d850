# Steps of a model that is recomputed over its last inputs. Part of native.pyx.

cdef enum:
    WAIT = 0
    PARTIAL = 1
    PAD_LEFT = 2
    PAD_RIGHT = 3

_STARTS = {"wait": WAIT, "partial": PARTIAL, "left": PAD_LEFT, "right": PAD_RIGHT}


cdef class Window(Engine):
    """The last inputs, and a program over a full window of them, every state at zero.

    The inputs stand one after the other, twice as many as the window is long, so that a window is always in one
    piece and is moved back to the start once per length of it.
    """

    cdef object _owners
    cdef object _short
    cdef cnp.ndarray _items
    cdef int _start
    cdef Py_ssize_t _length, _capacity
    # held: inputs in the window, padding before them included, which end at _end; real: those of them that came
    cdef Py_ssize_t _held, _real, _end
    cdef char *_buffer
    cdef char *_pad
    cdef char *_bases[MAX_BASES]
    cdef int _x_base, _pieces
    cdef char *_from[MAX_BASES]
    cdef Py_ssize_t _sizes[MAX_BASES]

    def __cinit__(self, Program program, object convert, object x_dtype, tuple x_shape, tuple y_shape,
                  bint reject_nonfinite, Py_ssize_t length, str start, object pad_value, Py_ssize_t x_base,
                  tuple states, tuple outputs, object short):
        """length: of the window. start: ``wait``, ``partial``, or the side that is padded. x_base: the base of the
        input that takes the window; states: those of the others. outputs: per part of the record which base, at which
        byte, how many bytes. short(items) → the record for fewer inputs than the window is long.
        """
        cdef cnp.ndarray block
        self._take_shapes(program, convert, x_dtype, x_shape, y_shape, reject_nonfinite)
        self._length, self._capacity, self._start, self._short = length, 2 * length, _STARTS[start], short
        if program.base_bytes[x_base] > length * self._x_bytes:
            raise ValueError("a window shorter than the plan says")
        self._items = np.empty((self._capacity, *x_shape), self._x_dtype)
        self._buffer = <char *> cnp.PyArray_DATA(self._items)
        owners = [np.full(x_shape, pad_value, self._x_dtype)]
        self._pad = <char *> cnp.PyArray_DATA(<cnp.ndarray> owners[0])
        self._bases[WEIGHTS], self._bases[CONSTANTS] = program._weights, program._constants
        for base in range(ARENA, len(program.base_bytes)):
            block = _aligned(program.base_bytes[base])
            if base in states:
                block[:] = 0
            owners.append(block)
            self._bases[base] = <char *> cnp.PyArray_DATA(block)
        self._x_base = x_base
        self._pieces = len(outputs)
        total = 0
        for i, (base, offset, size) in enumerate(outputs):
            if not FIRST_IO <= base < len(program.base_bytes) or offset + size > program.base_bytes[base]:
                raise ValueError("an output outside its base")
            self._from[i], self._sizes[i] = self._bases[base] + <Py_ssize_t> offset, size
            total += size
        if total != self._y_bytes:
            raise ValueError(f"outputs of {total} bytes, the record has {self._y_bytes}")
        self._owners = owners
        self.set_items(self._items[:0])

    cdef int _advance(self, const char *x, char *y, Py_ssize_t steps) except -1:
        cdef Py_ssize_t held = self._held, real = self._real, i
        cdef int answered = 1
        # many steps overwrite inputs that a failure would need again
        cdef cnp.ndarray before = self.items() if steps > 1 else None
        try:
            for i in range(steps):
                answered = self._one(x + i * self._x_bytes, y + i * self._y_bytes)
                if not answered and steps > 1:
                    _fill_nan(<float *> (y + i * self._y_bytes), self._y_bytes // 4)
        except BaseException:
            if before is None:
                self._held, self._real = held, real
            else:
                self._hold(<const char *> cnp.PyArray_DATA(before), real)
            raise
        return answered if steps == 1 else 1

    cdef int _one(self, const char *x, char *y) except -1:
        """The window with one more input, and its answer."""
        cdef Py_ssize_t item = self._x_bytes, length = self._length, held, real, i
        cdef char *window
        cdef core.ei_status status
        cdef size_t failed = 0
        cdef bint padded_after = self._start == PAD_RIGHT and self._real < length
        if self._end == self._capacity or (padded_after and self._end - self._held + length > self._capacity):
            memmove(self._buffer, self._buffer + (self._end - self._held) * item, self._held * item)
            self._end = self._held
        memcpy(self._buffer + self._end * item, x, item)
        held, real = min(self._held + 1, length), min(self._real + 1, length)
        window = self._buffer + (self._end + 1 - held) * item
        if held < length and self._start == WAIT:
            self._end, self._held, self._real = self._end + 1, held, real
            return 0
        if held < length and self._start == PARTIAL:
            self._partial(window, held, y)
        else:
            for i in range(held, length):
                memcpy(window + i * item, self._pad, item)
            self._bases[self._x_base] = window
            if self._program.macs < self._program._short_macs:
                status = self._program._core.run(self._program._code, self._program._count, self._bases, &failed)
            else:
                with nogil:
                    status = self._program._core.run(self._program._code, self._program._count, self._bases, &failed)
            if status != core.EI_OK:
                _raise(self._program, status, failed)
            for i in range(self._pieces):
                memcpy(y, self._from[i], self._sizes[i])
                y += self._sizes[i]
        self._end, self._held, self._real = self._end + 1, held, real
        return 1

    cdef int _partial(self, const char *window, Py_ssize_t held, char *y) except -1:
        start = (window - self._buffer) // self._x_bytes if self._x_bytes else 0
        cdef cnp.ndarray record = self._short(self._items[start:start + held].copy())
        if cnp.PyArray_NBYTES(record) != self._y_bytes or not cnp.PyArray_IS_C_CONTIGUOUS(record):
            raise ValueError(f"a record of {record.nbytes} bytes, expected {self._y_bytes}")
        memcpy(y, cnp.PyArray_DATA(record), self._y_bytes)
        return 0

    def items(self):
        """A copy of the inputs that came, the last of them: [at most length, *x_shape]."""
        return self._items[self._end - self._real:self._end].copy()

    def set_items(self, items):
        """Take over the inputs of items(), or of another window of at most this length."""
        cdef cnp.ndarray found = np.ascontiguousarray(items, self._x_dtype)
        cdef Py_ssize_t count = len(items)
        if count > self._length or found.size != count * self._x_count:
            raise ValueError(f"at most {self._length} inputs of {self._x_count} numbers")
        self._hold(<const char *> cnp.PyArray_DATA(found), count)

    cdef void _hold(self, const char *items, Py_ssize_t count) noexcept:
        """Take over so many inputs, which may stand in the window's own memory. Asks for none."""
        cdef Py_ssize_t i
        memmove(self._buffer + self._length * self._x_bytes, items, count * self._x_bytes)
        self._end, self._held, self._real = self._length + count, count, count
        if self._start == PAD_LEFT:
            for i in range(self._length - count):
                memcpy(self._buffer + (count + i) * self._x_bytes, self._pad, self._x_bytes)
            self._held = self._length


cdef void _fill_nan(float *row, Py_ssize_t count) noexcept:
    cdef Py_ssize_t i
    for i in range(count):
        row[i] = NAN
