# What a stream's step costs besides the arithmetic is spent here, so every common form of input and output has a path
# without a Python call. Part of native.pyx.

cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object number, int *overflow) except? -1

    ctypedef struct PyFloatObject:
        double ob_fval

cdef extern from "numpy/arrayobject.h":
    ctypedef struct PyArrayObject_fields:
        char *data
        int nd
        cnp.npy_intp *dimensions
        cnp.npy_intp *strides
        PyObject *base
        cnp.PyArray_Descr *descr
        int flags
        PyObject *weakreflist

cdef extern from *:
    """
    #ifdef Py_GIL_DISABLED /* there a count of 1 does not mean that nobody else holds the array */
    #define EI_REUSE 0
    #else
    #define EI_REUSE 1
    #endif
    """
    const bint EI_REUSE

cdef enum:
    MAX_RANK = 31
    # one that the caller holds, one that it is about to let go, one that is free
    RING = 3

cdef long long EXACT_DOUBLE = 1 << 53
cdef type _FLOAT32_SCALAR = np.float32
cdef type _FLOAT64_SCALAR = np.float64
cdef type _INT32_SCALAR = np.int32
cdef type _INT64_SCALAR = np.int64
cdef object _FLOAT32 = np.dtype(np.float32)


cdef class Turns:
    """The compiled twin of the class in edgeinfer/caller.py: ``with turns():`` for one caller at a time.

    The flag is a C integer that changes under the GIL only, so that it holds while a step has let the GIL go. It is
    taken and given back in C: a handler of a signal, which may raise, runs before or after, never between the two and
    what they guard.
    """

    cdef bint _taken
    cdef object _busy_text

    def __init__(self, busy_text):
        self._busy_text = busy_text

    def __call__(self):
        return self

    def __enter__(self):
        if self._taken:
            raise StreamError(self._busy_text)
        self._taken = True

    def __exit__(self, kind, error, trace):
        self._taken = False


cdef class OneCaller:
    """The compiled twin of edgeinfer/caller.py: one caller at a time, and the step."""

    cdef bint _scalar
    cdef Engine _fast
    cdef Turns _turns
    cdef object _engine
    cdef object _finish

    def __cinit__(self, *args, **kwargs):
        self._turns = Turns(self._busy_text)

    def __init__(self, engine, bint scalar, finish):
        self._scalar = scalar
        self._finish = np.ndarray.item if scalar else finish
        self._use(engine)

    def _use(self, engine):
        """Step with this engine from now on."""
        self._engine = engine
        self._fast = engine if isinstance(engine, Engine) else None

    def _turn(self):
        return self._turns

    @cython.embedsignature(True)
    @cython.embedsignature.format("clinic")
    def step(self, x, out=None):
        """One time step.

        x: float32 [features]; a float for one feature; an int for a token. out: a float32 array to write the answer
        to, which allocates nothing. Returns the output [outputs] as a new array (or out), a float where it has one
        element, a dict by name where there are several, None while a window that waits to be full is not.
        Raises InputError for an input that does not fit (the state is as it was), StreamError when closed or busy.
        """
        if self._turns._taken:
            raise StreamError(self._busy_text)
        self._turns._taken = True
        try:
            if self._fast is None:
                return self._engine.step(x, out, self._finish if out is None else None)
            if self._scalar and out is None:
                return self._fast.step_to_float(x)
            return self._fast.step_to_array(x, out, self._finish if out is None else None)
        finally:
            self._turns._taken = False


@cython.final
cdef class Ring:
    """Hands out arrays of one shape, and an old one again only where nobody could tell it from a new one."""

    cdef int _rank, _next, _flags
    cdef cnp.npy_intp *_dims
    cdef PyObject *_kept[RING]
    cdef char *_data[RING]

    def __cinit__(self):
        self._rank = self._next = 0
        self._dims = NULL
        for i in range(RING):
            self._kept[i] = NULL

    def __dealloc__(self):
        for i in range(RING):
            Py_XDECREF(self._kept[i])

    cdef cnp.ndarray take(self):
        cdef int at = self._next
        cdef PyObject *kept = self._kept[at]
        cdef cnp.ndarray y
        self._next = at + 1 if at + 1 < RING else 0
        if kept != NULL and self._as_made(kept, self._data[at]):
            return <cnp.ndarray> kept
        y = cnp.PyArray_EMPTY(self._rank, self._dims, cnp.NPY_FLOAT32, 0)
        if EI_REUSE:
            Py_INCREF(y)
            self._kept[at] = <PyObject *> y
            self._data[at] = <char *> cnp.PyArray_DATA(y)
            self._flags = cnp.PyArray_FLAGS(y)
            Py_XDECREF(kept)
        return y

    cdef inline bint _as_made(self, PyObject *kept, char *data) noexcept:
        """Nobody holds it or has a weak reference to it, and nothing of it was changed in place."""
        cdef PyArrayObject_fields *y = <PyArrayObject_fields *> kept
        cdef cnp.npy_intp stride = 4
        cdef int i
        if (Py_REFCNT(<object> kept) != 1 or y.weakreflist != NULL or y.base != NULL or y.data != data
                or y.nd != self._rank or <PyObject *> y.descr != <PyObject *> _FLOAT32 or y.flags != self._flags):
            return False
        for i in range(self._rank - 1, -1, -1):
            if y.dimensions[i] != self._dims[i] or y.strides[i] != stride:
                return False
            stride *= self._dims[i]
        return True


cdef class Engine:
    """One stream's way in and out: an input in any common form, an answer as an array or a float.

    Subclasses take the step itself. Not for two threads at once; OneCaller sees to that.
    """

    cdef Program _program
    cdef object _convert
    cdef object _x_dtype
    cdef int _x_type, _x_rank, _y_rank
    cdef bint _reject
    cdef Py_ssize_t _x_bytes, _x_count, _y_bytes
    cdef tuple _y_shape
    cdef cnp.npy_intp _x_dims[MAX_RANK + 1]
    cdef cnp.npy_intp _y_dims[MAX_RANK + 1]
    cdef cnp.ndarray _scratch
    cdef char *_x_scratch
    cdef Ring _ring

    cdef int _take_shapes(self, Program program, convert, x_dtype, tuple x_shape, tuple y_shape,
                          bint reject_nonfinite) except -1:
        """convert(x, steps) → C-contiguous array of x_dtype, shape x_shape or [steps, *x_shape]; raises InputError."""
        cdef Py_ssize_t i
        if len(x_shape) > MAX_RANK or len(y_shape) > MAX_RANK:
            raise ValueError(f"a step of rank {len(x_shape)}, at most {MAX_RANK}")
        self._program = program
        self._convert = convert
        self._x_dtype = np.dtype(x_dtype)
        self._x_type = self._x_dtype.num
        self._y_shape = y_shape
        self._x_count = _product(x_shape)
        self._x_bytes = self._x_count * self._x_dtype.itemsize
        self._y_bytes = 4 * _product(y_shape)
        self._x_rank, self._y_rank = len(x_shape), len(y_shape)
        for i in range(self._x_rank):
            self._x_dims[i] = x_shape[i]
        for i in range(self._y_rank):
            self._y_dims[i] = y_shape[i]
        self._reject = reject_nonfinite and self._x_dtype.kind == "f"
        self._scratch = _aligned(self._x_bytes)
        self._x_scratch = <char *> cnp.PyArray_DATA(self._scratch)
        self._ring = Ring.__new__(Ring)
        self._ring._rank, self._ring._dims = self._y_rank, self._y_dims
        return 0

    cdef int _advance(self, const char *x, char *y, Py_ssize_t steps) except -1:
        """Take the steps, or change nothing and raise. Returns 0 where a single step has no answer, else 1."""
        raise NotImplementedError

    def step(self, x, out, finish):
        """One time step. Returns out, or a new float32 array of the step's output shape; None for no answer.

        finish: as edgeinfer/caller.py has it.
        """
        return self.step_to_array(x, out, finish)

    @cython.final
    cdef step_to_array(self, x, out, finish):
        cdef const char *data = self._input(x)
        cdef cnp.ndarray y = self._ring.take() if out is None else self._output(out, data)
        answer = y if finish is None else finish(y)
        return answer if self._advance(data, <char *> cnp.PyArray_DATA(y), 1) else None

    @cython.final
    cdef step_to_float(self, x):
        """One time step of a model with one output of one element."""
        cdef float y = 0.0
        # made before the state changes, since there may be no memory for it; nobody else has it yet
        cdef object answer = PyFloat_FromDouble(y)
        if not self._advance(self._input(x), <char *> &y, 1):
            return None
        (<PyFloatObject *> answer).ob_fval = y
        return answer

    def run(self, x, finish=None):
        """T steps: x [T, *x_shape] → float32 [T, *y_shape], state carried on. finish: as for a step."""
        cdef cnp.ndarray xs
        cdef cnp.npy_intp dims[MAX_RANK + 1]
        cdef cnp.ndarray y
        if type(x) is cnp.ndarray and self._fits(<cnp.ndarray> x, self._x_type, 1):
            xs = <cnp.ndarray> x
        else:
            xs = self._convert(x, True)
        if self._program.macs * xs.shape[0] >= self._program._short_macs:
            xs = _settled(xs)
        dims[0] = xs.shape[0]
        memcpy(dims + 1, self._y_dims, self._y_rank * sizeof(cnp.npy_intp))
        if self._reject and not self._program._core.all_finite(<const float *> cnp.PyArray_DATA(xs), xs.size):
            self._convert.refuse(xs, True)
        y = cnp.PyArray_EMPTY(self._y_rank + 1, dims, cnp.NPY_FLOAT32, 0)
        answer = y if finish is None else finish(y)
        if not self._advance(<const char *> cnp.PyArray_DATA(xs), <char *> cnp.PyArray_DATA(y), xs.shape[0]):
            _fill_nan(<float *> cnp.PyArray_DATA(y), y.size)
        return answer

    @cython.final
    cdef const char *_input(self, x) except NULL:
        """The bytes of one step's input, checked: the array's own where it has the model's form already."""
        cdef type kind = <type> type(x)
        cdef const char *data = self._x_scratch
        cdef bint known
        if kind is cnp.ndarray and self._fits(<cnp.ndarray> x, self._x_type, 0):
            data = <const char *> cnp.PyArray_DATA(<cnp.ndarray> x)
            if self._x_type != cnp.NPY_FLOAT32:  # as _settled has it
                data = <const char *> memcpy(self._x_scratch, data, self._x_bytes)
        else:
            if kind is cnp.ndarray:
                known = self._narrowed(<cnp.ndarray> x)
            elif kind is list:
                known = self._x_rank == 1 and self._numbers(<list> x)
            else:
                known = self._x_count == 1 and self._x_rank < 2 and self._number(x, kind)
            if not known:
                converted = self._convert(x, False)
                memcpy(self._x_scratch, cnp.PyArray_DATA(<cnp.ndarray> converted), self._x_bytes)
        if self._reject and not self._program._core.all_finite(<const float *> data, self._x_count):
            # these bytes: what is asked for its numbers again may give others
            self._convert.refuse(self._copied(data), False)
        return data

    cdef cnp.ndarray _copied(self, const char *x):
        cdef cnp.ndarray found = cnp.PyArray_EMPTY(self._x_rank, self._x_dims, self._x_type, 0)
        memcpy(cnp.PyArray_DATA(found), x, self._x_bytes)
        return found

    @cython.final
    cdef inline bint _fits(self, cnp.ndarray x, int dtype, int before) noexcept:
        """Whether it has the form of an input, with so many more axes before."""
        cdef int i
        if (cnp.PyArray_TYPE(x) != dtype or cnp.PyArray_NDIM(x) != self._x_rank + before
                or not cnp.PyArray_ISCARRAY_RO(x)):
            return False
        for i in range(self._x_rank):
            if cnp.PyArray_DIM(x, i + before) != self._x_dims[i]:
                return False
        return True

    @cython.final
    cdef bint _narrowed(self, cnp.ndarray x):
        """float64, NumPy's own type, rounded into scratch; False for any other array."""
        cdef const double *wide
        cdef Py_ssize_t i
        if self._x_type != cnp.NPY_FLOAT32 or not self._fits(x, cnp.NPY_FLOAT64, 0):
            return False
        wide = <const double *> cnp.PyArray_DATA(x)
        for i in range(self._x_count):
            (<float *> self._x_scratch)[i] = <float> wide[i]
        return True

    @cython.final
    cdef bint _numbers(self, list x) except -1:
        """A list of floats and of integers that a double holds exactly, as NumPy would take it."""
        cdef Py_ssize_t i
        cdef long long whole
        cdef int overflow = 0
        if self._x_type != cnp.NPY_FLOAT32 or len(x) != self._x_count:
            return False
        for i in range(self._x_count):
            item = x[i]
            if type(item) is float:
                (<float *> self._x_scratch)[i] = <float> PyFloat_AS_DOUBLE(item)
                continue
            if type(item) is not int:
                return False
            whole = PyLong_AsLongLongAndOverflow(item, &overflow)
            if overflow or not -EXACT_DOUBLE <= whole <= EXACT_DOUBLE:
                return False
            (<float *> self._x_scratch)[i] = <float> whole
        return True

    @cython.final
    cdef bint _number(self, x, type kind) except -1:
        """A bare number into scratch; False for what only the converter knows."""
        cdef long long whole
        cdef int overflow = 0
        if kind is float or kind is _FLOAT64_SCALAR:
            if self._x_type != cnp.NPY_FLOAT32:
                return False
            (<float *> self._x_scratch)[0] = <float> PyFloat_AS_DOUBLE(x)
            return True
        if kind is _FLOAT32_SCALAR:
            if self._x_type != cnp.NPY_FLOAT32:
                return False
            cnp.PyArray_ScalarAsCtype(x, self._x_scratch)
            return True
        if kind is int:
            whole = PyLong_AsLongLongAndOverflow(x, &overflow)
            if overflow:
                return False
        elif kind is _INT32_SCALAR or kind is _INT64_SCALAR:
            whole = x
        else:
            return False
        if self._x_type == cnp.NPY_FLOAT32:
            (<float *> self._x_scratch)[0] = <float> whole
        elif self._x_type == cnp.NPY_INT64:
            (<int64_t *> self._x_scratch)[0] = whole
        elif self._x_type == cnp.NPY_INT32 and -0x80000000 <= whole <= 0x7fffffff:
            (<int32_t *> self._x_scratch)[0] = <int32_t> whole
        else:
            return False
        return True

    @cython.final
    cdef cnp.ndarray _output(self, out, const char *x):
        cdef cnp.ndarray y
        cdef const char *data
        cdef int i
        cdef bint fits
        if type(out) is not cnp.ndarray:
            raise InputError(f"out: expected a NumPy array, got {type(out).__name__}", name="out")
        y = <cnp.ndarray> out
        fits = (cnp.PyArray_TYPE(y) == cnp.NPY_FLOAT32 and cnp.PyArray_ISCARRAY(y)
                and cnp.PyArray_NDIM(y) == self._y_rank)
        for i in range(self._y_rank if fits else 0):
            fits = fits and cnp.PyArray_DIM(y, i) == self._y_dims[i]
        if not fits:
            raise InputError(
                f"out: expected a writable C-contiguous float32 array of shape {list(self._y_shape)}, "
                f"got {y.dtype} {list(out.shape)}"
                + ("" if cnp.PyArray_ISCARRAY(y) else ", not writable or not contiguous"),
                name="out", expected=self._y_shape, got=out.shape)
        data = <const char *> cnp.PyArray_DATA(y)
        if data < x + self._x_bytes and x < data + self._y_bytes:
            raise InputError("out: expected memory of its own, got an array that overlaps the input", name="out")
        return y
