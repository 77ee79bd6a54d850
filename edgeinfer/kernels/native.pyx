# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, binding=False
"""The seam to the C core: checks and converts, releases the GIL where the work is long, calls C. No arithmetic."""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy

cimport numpy as cnp

from . cimport core

import numpy as np

from ..errors import InputError, StreamError

cnp.import_array()

cdef enum:
    MAX_BASES = 64
    # below this many multiply-accumulates the two switches of the GIL cost more than they give
    NOGIL_MACS = 65536

# The bases that plan/memory.py numbers.
cdef enum:
    WEIGHTS = 0
    CONSTANTS = 1
    ARENA = 2
    STATE_IN = 3
    STATE_OUT = 4
    FIRST_IO = 5


def core_names():
    """The instruction sets compiled in that this machine can run, fastest first."""
    cdef const char *const *name = core.ei_core_names()
    names = []
    while name[0] != NULL:
        if core.ei_core_find(name[0]) != NULL:
            names.append(name[0].decode())
        name += 1
    return tuple(names)


def core_lanes(str name):
    """Floats per vector of a core, which is also how many units a block of packed weights has."""
    cdef const core.ei_core *found = core.ei_core_find(name.encode())
    if found == NULL:
        raise ValueError(f"no core {name}")
    return found.lanes


cdef class Program:
    """A plan's records with the constants that they read. Immutable; any number of threads may run it at once."""

    cdef const core.ei_core *_core
    cdef core.ei_instr *_code
    cdef size_t _count
    cdef char *_weights
    cdef char *_constants
    cdef object _owners
    cdef readonly tuple nodes
    cdef readonly tuple base_bytes
    cdef readonly Py_ssize_t macs

    def __cinit__(self, str isa, cnp.ndarray records, tuple nodes, cnp.ndarray weights, cnp.ndarray constants,
                  tuple base_bytes, Py_ssize_t macs):
        self._core = core.ei_core_find(isa.encode())
        if self._core == NULL:
            raise ValueError(f"no core {isa}")
        if records.itemsize != sizeof(core.ei_instr) or not records.flags.c_contiguous:
            raise ValueError(f"records of {records.itemsize} bytes, the core has {sizeof(core.ei_instr)}")
        if not FIRST_IO <= len(base_bytes) <= MAX_BASES:
            raise ValueError(f"{len(base_bytes)} bases, at most {MAX_BASES}")
        if weights.nbytes < base_bytes[WEIGHTS] or constants.nbytes < base_bytes[CONSTANTS]:
            raise ValueError("constants shorter than the plan says")
        self._count = records.shape[0]
        self._code = <core.ei_instr *> PyMem_Malloc(self._count * sizeof(core.ei_instr) + 1)
        if self._code == NULL:
            raise MemoryError
        memcpy(self._code, cnp.PyArray_DATA(records), self._count * sizeof(core.ei_instr))
        self._weights = <char *> cnp.PyArray_DATA(weights)
        self._constants = <char *> cnp.PyArray_DATA(constants)
        self._owners = (weights, constants)
        self.nodes = nodes
        self.base_bytes = base_bytes
        self.macs = macs

    def __dealloc__(self):
        PyMem_Free(self._code)

    def run(self, Py_ssize_t start, Py_ssize_t stop, tuple buffers):
        """Run the records from ``start`` to ``stop``.

        buffers: one C-contiguous array (or None) per base from ARENA on, each at least as long as the plan says.
        Raises InputError for an index outside its table, naming the node.
        """
        cdef char *bases[MAX_BASES]
        cdef core.ei_status status
        cdef size_t failed = 0
        cdef Py_ssize_t i
        cdef cnp.ndarray buffer
        if not 0 <= start <= stop <= <Py_ssize_t> self._count:
            raise ValueError(f"records {start} to {stop} of {self._count}")
        if len(buffers) != len(self.base_bytes) - ARENA:
            raise ValueError(f"expected {len(self.base_bytes) - ARENA} buffers, got {len(buffers)}")
        bases[WEIGHTS] = self._weights
        bases[CONSTANTS] = self._constants
        for i in range(len(buffers)):
            bases[ARENA + i] = NULL
            if buffers[i] is not None:
                buffer = buffers[i]
                bases[ARENA + i] = <char *> cnp.PyArray_DATA(buffer)
                if not cnp.PyArray_IS_C_CONTIGUOUS(buffer) or buffer.nbytes < self.base_bytes[ARENA + i]:
                    raise ValueError(f"base {ARENA + i}: expected {self.base_bytes[ARENA + i]} bytes in C order")
            elif self.base_bytes[ARENA + i] > 0:
                raise ValueError(f"base {ARENA + i} is missing")
        if self.macs < NOGIL_MACS:
            status = self._core.run(self._code + start, stop - start, bases, &failed)
        else:
            with nogil:
                status = self._core.run(self._code + start, stop - start, bases, &failed)
        if status != core.EI_OK:
            _raise(self, status, start + failed)


cdef _raise(Program program, core.ei_status status, size_t failed, str at=""):
    """The one place where a status becomes an exception."""
    name = program.nodes[failed]
    if status == core.EI_INDEX_OUT_OF_RANGE:
        raise InputError(f'in node "{name}" (Gather){at}: an index is outside the table', name=name)
    raise RuntimeError(f'in node "{name}"{at}: the core refused the program, status {status}')


cdef class Stepper:
    """One stream: a program for single steps, its state, and the memory it works in.

    The state is double-buffered: a step that fails leaves the present one as it was. Not for two threads at once;
    Stream sees to that.
    """

    cdef Program _program
    cdef object _owners
    cdef object _convert
    cdef object _x_dtype
    cdef int _x_type
    cdef int _y_rank
    cdef bint _reject
    cdef Py_ssize_t _x_bytes, _x_count, _y_bytes, _state_bytes
    cdef tuple _x_shape, _y_shape
    cdef cnp.npy_intp _y_dims[32]
    cdef char *_bases[MAX_BASES]
    cdef char *_x_scratch
    cdef char *_backup

    def __cinit__(self, Program program, object convert, object x_dtype, tuple x_shape, tuple y_shape,
                  Py_ssize_t state_bytes, bint reject_nonfinite):
        """convert(x, steps) → C-contiguous array of x_dtype, shape x_shape or [steps, *x_shape]; raises InputError."""
        cdef Py_ssize_t i
        cdef cnp.ndarray arena, states, scratch, backup
        if len(program.base_bytes) != FIRST_IO + 2 or len(y_shape) > 31:
            raise ValueError("a stepping program has one input and one output record")
        self._program = program
        self._convert = convert
        self._x_dtype = np.dtype(x_dtype)
        self._x_type = self._x_dtype.num
        self._x_shape, self._y_shape = x_shape, y_shape
        self._x_count = int(np.prod(x_shape, dtype=np.int64))
        self._x_bytes = self._x_count * self._x_dtype.itemsize
        self._y_bytes = 4 * int(np.prod(y_shape, dtype=np.int64))
        self._y_rank = len(y_shape)
        for i in range(self._y_rank):
            self._y_dims[i] = y_shape[i]
        self._reject = reject_nonfinite and self._x_dtype.kind == "f"
        self._state_bytes = state_bytes
        bytes_needed = program.base_bytes
        if (bytes_needed[FIRST_IO] > self._x_bytes or bytes_needed[FIRST_IO + 1] > self._y_bytes
                or bytes_needed[STATE_IN] > state_bytes or bytes_needed[STATE_OUT] > state_bytes):
            raise ValueError("memory shorter than the plan says")
        bank = -(-state_bytes // 64) * 64
        arena, states = _aligned(bytes_needed[ARENA]), _aligned(2 * bank)
        scratch, backup = _aligned(self._x_bytes), _aligned(bank)
        states[:] = 0
        self._owners = (arena, states, scratch, backup)
        self._bases[WEIGHTS] = program._weights
        self._bases[CONSTANTS] = program._constants
        self._bases[ARENA] = <char *> cnp.PyArray_DATA(arena)
        self._bases[STATE_IN] = <char *> cnp.PyArray_DATA(states)
        self._bases[STATE_OUT] = self._bases[STATE_IN] + <Py_ssize_t> bank
        self._x_scratch = <char *> cnp.PyArray_DATA(scratch)
        self._backup = <char *> cnp.PyArray_DATA(backup)

    def step(self, x, out=None):
        """One time step. Returns out, or a new float32 array of the step's output shape."""
        cdef const char *data = self._input(x)
        cdef cnp.ndarray y
        if out is None:
            y = cnp.PyArray_EMPTY(self._y_rank, self._y_dims, cnp.NPY_FLOAT32, 0)
        else:
            y = self._output(out, data)
        self._run(data, <char *> cnp.PyArray_DATA(y), 1)
        return y

    def run(self, x):
        """T steps: x [T, *x_shape] → float32 [T, *y_shape], state carried on."""
        cdef cnp.ndarray xs = self._convert(x, True)
        cdef cnp.npy_intp dims[32]
        cdef cnp.ndarray y
        dims[0] = xs.shape[0]
        memcpy(dims + 1, self._y_dims, self._y_rank * sizeof(cnp.npy_intp))
        if self._reject and not self._program._core.all_finite(<const float *> cnp.PyArray_DATA(xs), xs.size):
            self._convert.refuse(xs, True)
        y = cnp.PyArray_EMPTY(self._y_rank + 1, dims, cnp.NPY_FLOAT32, 0)
        self._run(<const char *> cnp.PyArray_DATA(xs), <char *> cnp.PyArray_DATA(y), xs.shape[0])
        return y

    cdef const char *_input(self, x) except NULL:
        """The bytes of one step's input: the array's own where it already has the right form."""
        cdef cnp.ndarray array
        if type(x) is cnp.ndarray:
            array = <cnp.ndarray> x
            if not (cnp.PyArray_TYPE(array) == self._x_type and cnp.PyArray_ISCARRAY_RO(array)
                    and array.ndim == 1 and len(self._x_shape) == 1 and array.shape[0] == self._x_count):
                array = self._convert(x, False)
        elif type(x) is float and self._x_type == cnp.NPY_FLOAT32 and self._x_count == 1:
            (<float *> self._x_scratch)[0] = <float> (<double> x)
            if self._reject and not self._program._core.all_finite(<const float *> self._x_scratch, 1):
                self._convert.refuse(self._convert(x, False), False)
            return self._x_scratch
        elif type(x) is int and self._x_count == 1 and -1 < x < 0x7fffffff:
            if self._x_type == cnp.NPY_INT32:
                (<int32_t *> self._x_scratch)[0] = x
                return self._x_scratch
            if self._x_type == cnp.NPY_INT64:
                (<int64_t *> self._x_scratch)[0] = x
                return self._x_scratch
            array = self._convert(x, False)
        else:
            array = self._convert(x, False)
        if self._reject and not self._program._core.all_finite(<const float *> cnp.PyArray_DATA(array),
                                                               self._x_count):
            self._convert.refuse(array, False)
        if array is x:
            return <const char *> cnp.PyArray_DATA(array)
        memcpy(self._x_scratch, cnp.PyArray_DATA(array), self._x_bytes)
        return self._x_scratch

    cdef cnp.ndarray _output(self, out, const char *x):
        cdef cnp.ndarray y
        cdef const char *data
        if type(out) is not cnp.ndarray:
            raise InputError(f"out: expected a NumPy array, got {type(out).__name__}", name="out")
        y = <cnp.ndarray> out
        if (cnp.PyArray_TYPE(y) != cnp.NPY_FLOAT32 or not cnp.PyArray_ISCARRAY(y)
                or (<object> y).shape != self._y_shape):
            raise InputError(
                f"out: expected a writable C-contiguous float32 array of shape {list(self._y_shape)}, "
                f"got {y.dtype} {list(out.shape)}"
                + ("" if cnp.PyArray_ISCARRAY(y) else ", not writable or not contiguous"),
                name="out", expected=self._y_shape, got=out.shape)
        data = <const char *> cnp.PyArray_DATA(y)
        if data < x + self._x_bytes and x < data + self._y_bytes:
            raise InputError("out: expected memory of its own, got an array that overlaps the input", name="out")
        return y

    cdef int _run(self, const char *x, char *y, size_t steps) except -1:
        cdef core.ei_step layout
        cdef core.ei_status status
        cdef size_t failed_step = 0, failed = 0
        layout.state_in, layout.state_out = STATE_IN, STATE_OUT
        layout.x, layout.y = FIRST_IO, FIRST_IO + 1
        layout.x_stride, layout.y_stride = self._x_bytes, self._y_bytes
        self._bases[FIRST_IO] = <char *> x
        self._bases[FIRST_IO + 1] = y
        if steps > 1:
            memcpy(self._backup, self._bases[STATE_IN], self._state_bytes)
        if self._program.macs * <Py_ssize_t> steps < NOGIL_MACS:
            status = core.ei_run_steps(self._program._core, self._program._code, self._program._count, self._bases,
                                       &layout, steps, &failed_step, &failed)
        else:
            with nogil:
                status = core.ei_run_steps(self._program._core, self._program._code, self._program._count,
                                           self._bases, &layout, steps, &failed_step, &failed)
        if status != core.EI_OK:
            if steps > 1:
                memcpy(self._bases[STATE_IN], self._backup, self._state_bytes)
            _raise(self._program, status, failed, f" at step {failed_step}" if steps > 1 else "")
        return 0

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


cdef _aligned(Py_ssize_t size):
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start:start + size]
