# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, binding=False
# cython: auto_pickle=False
"""The seam to the C core: checks and converts, releases the GIL where the work is long, calls C. No arithmetic."""

from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_FromDouble
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_REFCNT, Py_XDECREF
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.math cimport NAN
from libc.string cimport memcpy, memmove

cimport cython
cimport numpy as cnp

from . cimport core

import numpy as np

from ..errors import InputError, StreamError

cnp.import_array()

cdef extern from "csrc/canary.h":
    int EI_CANARY(const char *name)

cdef enum:
    MAX_BASES = 64
    # Multiply-accumulates per lane in about 2 µs (measured: 3,000 to 7,500 with vectors). For less the GIL is kept:
    # to give it away and take it back costs 30 ns, and where other threads want it a wait for the longest of them.
    NOGIL_MACS_PER_LANE = 4096

# The bases that plan/memory.py numbers.
cdef enum:
    WEIGHTS = 0
    CONSTANTS = 1
    ARENA = 2
    STATE_IN = 3
    STATE_OUT = 4
    FIRST_IO = 5


cdef dict _FOUND = {}  # where each core is, or 0: CPUID takes microseconds in a virtual machine


cdef const core.ei_core *_find(str name):
    """The core of that name, or NULL where this machine cannot run it."""
    if name not in _FOUND:
        _FOUND[name] = <size_t> core.ei_core_find(name.encode())
    return <const core.ei_core *> <size_t> _FOUND[name]


def core_names():
    """The instruction sets compiled in that this machine can run, fastest first."""
    cdef const char *const *name = core.ei_core_names()
    names = []
    while name[0] != NULL:
        if _find(name[0].decode()) != NULL:
            names.append(name[0].decode())
        name += 1
    return tuple(names)


def core_lanes(str name):
    """Floats per vector of a core, which is also how many units a block of packed weights has."""
    cdef const core.ei_core *found = _find(name)
    if found == NULL:
        raise ValueError(f"no core {name}")
    return found.lanes


def core_has_vnni(str name):
    """Whether a core multiplies bytes with AVX-512 VNNI on this machine."""
    cdef const core.ei_core *found = core.ei_core_find(name.encode())
    return found != NULL and core.ei_core_has_vnni(found) != 0


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
    cdef Py_ssize_t _short_macs

    def __cinit__(self, str isa, cnp.ndarray records, tuple nodes, cnp.ndarray weights, cnp.ndarray constants,
                  tuple base_bytes, Py_ssize_t macs):
        self._core = _find(isa)
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
        if self._code == NULL and not EI_CANARY("unchecked allocation"):
            raise MemoryError
        memcpy(self._code, cnp.PyArray_DATA(records), self._count * sizeof(core.ei_instr))
        self._weights = <char *> cnp.PyArray_DATA(weights)
        self._constants = <char *> cnp.PyArray_DATA(constants)
        self._owners = (weights, constants)
        self.nodes = nodes
        self.base_bytes = base_bytes
        self.macs = macs
        self._short_macs = NOGIL_MACS_PER_LANE * self._core.lanes

    def __dealloc__(self):
        PyMem_Free(self._code)

    def run(self, Py_ssize_t start, Py_ssize_t stop, tuple buffers, Py_ssize_t times=1):
        """Run the records from ``start`` to ``stop``; ``times`` over for a profile, which a call each would drown.

        Between two times the states change places, as they do between steps; what a run without that takes is another
        figure (a GRU of 64 units: 40 % more).
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
        if self.macs * times < self._short_macs:
            status = self._repeat(start, stop, bases, times, &failed)
        else:
            with nogil:
                status = self._repeat(start, stop, bases, times, &failed)
        if status != core.EI_OK:
            _raise(self, status, start + failed)

    cdef core.ei_status _repeat(self, Py_ssize_t start, Py_ssize_t stop, char **bases, Py_ssize_t times,
                                size_t *failed) noexcept nogil:
        cdef core.ei_status status = core.EI_OK
        cdef char *state
        while times > 0 and status == core.EI_OK:
            status = self._core.run(self._code + start, stop - start, bases, failed)
            times -= 1
            state = bases[STATE_IN]
            bases[STATE_IN] = bases[STATE_OUT]
            bases[STATE_OUT] = state
        return status


cdef _raise(Program program, core.ei_status status, size_t failed, str at=""):
    """The one place where a status becomes an exception."""
    name = program.nodes[failed]
    if status == core.EI_INDEX_OUT_OF_RANGE:
        raise InputError(f'in node "{name}" (Gather){at}: an index is outside the table', name=name)
    if status == core.EI_LENGTH_OUT_OF_RANGE:
        raise InputError(f'in node "{name}": sequence_lens: a length is outside 0 to the number of steps', name=name)
    raise RuntimeError(f'in node "{name}"{at}: the core refused the program, status {status}')


cdef cnp.ndarray _settled(cnp.ndarray x):
    """Tokens, lengths and masks in an array that no other thread can change while the GIL is away.

    The core checks them first and then reads them again; of floats it takes nothing but their values.
    """
    return x if cnp.PyArray_ISFLOAT(x) else x.copy()


def aligned_empty(Py_ssize_t size):
    """``size`` bytes that begin on a boundary of 64; their content is undefined.

    Asked for an array's address, NumPy ends the process where it has no memory to say it; here nobody asks.
    """
    return _aligned(size)


cdef Py_ssize_t _product(tuple shape) except -1:
    cdef Py_ssize_t product = 1
    for dim in shape:
        product *= <Py_ssize_t> dim
    return product


cdef cnp.ndarray _aligned(Py_ssize_t size):
    cdef cnp.npy_intp total = size + 64
    cdef void *lost = PyMem_Malloc(64) if EI_CANARY("leak after a failure") else NULL
    cdef cnp.ndarray raw = cnp.PyArray_EMPTY(1, &total, cnp.NPY_UINT8, 0)
    PyMem_Free(lost)
    cdef Py_ssize_t start = -<Py_ssize_t> cnp.PyArray_DATA(raw) & 63
    return raw[start:start + size]


include "engine.pxi"
include "stepper.pxi"
include "window.pxi"
include "call.pxi"
include "pool.pxi"
