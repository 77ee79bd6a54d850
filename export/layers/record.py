"""What one call of a layer stands for: a record while the model is traced, nodes when it is converted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, cast

import numpy as np

from ..errors import ExportError
from .calls import Call, Calls

# ReduceMax, Mean, Min and Prod; ReduceSum, Squeeze and Unsqueeze have had them since opset 13.
_AXES_BECOME_AN_INPUT = 18


@dataclass
class Record:
    """One call of a layer.

    ``wanted`` is what the layer should be called: its own name, or that with a part behind it. ``label`` is what it
    is called in the file, ``name`` the name of this call: the label, or label/call_i where there are several calls.
    ``shapes`` are those of its outputs. ``distributed`` says that it stands inside TimeDistributed, so that the model's
    time is part of its batch.
    """

    layer: Any
    wanted: str
    label: str = field(default="", init=False)
    name: str = field(default="", init=False)
    shapes: tuple[tuple[int | None, ...], ...] = field(default=(), init=False)
    distributed: bool = field(default=False, init=False)
    call: Call | None = field(default=None, init=False)

    def arrays(self) -> list[np.ndarray]:
        """What the nodes hold: a layer that is called twice gives the same arrays twice."""
        return []

    def lower(self, build: Build, arrays: Sequence[np.ndarray], inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """Make the nodes that compute ``outputs`` from ``inputs``, those of the placeholder."""
        raise NotImplementedError


@dataclass
class Recorder:
    """The records of one trace, by the token of their placeholder, in the order of the calls.

    ``calls`` are those of all layers. ``refused`` is the first refusal met: Keras raises another error in its place,
    with its own words around.
    """

    records: dict[bytes, Record] = field(default_factory=dict)
    refused: ExportError | None = None
    calls: Calls = field(default_factory=Calls)
    _depth: int = 0

    @contextmanager
    def distributed(self) -> Iterator[None]:
        """What is recorded inside the block stands inside TimeDistributed."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def emit(
        self,
        record: Record,
        inputs: Sequence[Any],
        shapes: Sequence[Sequence[int | None]],
        dtypes: Sequence[Any] | None = None,
    ) -> list[Any]:
        """Put a placeholder with one output per shape into the graph being traced; float32 unless ``dtypes`` says."""
        import tensorflow as tf

        outputs = tf.numpy_function(_never_called, list(inputs), list(dtypes or [tf.float32] * len(shapes)))
        record.shapes = tuple(tuple(shape) for shape in shapes)
        record.distributed = self._depth > 0
        record.call = self.calls.present
        self.records[outputs[0].op.get_attr("token")] = record
        # set_shape alone is lost when the graph is frozen.
        return [tf.ensure_shape(output, shape) for output, shape in zip(outputs, shapes, strict=True)]

    def finish(self) -> None:
        """Give every call, and every record, its label and name."""
        self.calls.finish()
        for record in self.records.values():
            record.label = record.wanted
            if record.call is not None:
                own = record.call.layer.name
                inner = record.wanted.removeprefix(own) if record.wanted.startswith(own) else f"/{record.wanted}"
                record.label = record.call.label + inner
        total, seen = Counter(record.label for record in self.records.values()), Counter[str]()
        for record in self.records.values():
            several = total[record.label] > 1
            record.name = f"{record.label}/call_{seen[record.label]}" if several else record.label
            seen[record.label] += 1


def as_float(x: Any) -> Any:
    """Keras multiplies integers with float32 weights as float32."""
    import tensorflow as tf

    return x if x.dtype == tf.float32 else tf.cast(x, tf.float32)


def flat(value: Any) -> list[Any]:
    """The tensors (and Nones) in a structure, in order."""
    import keras

    return list(keras.tree.flatten(value))


def _never_called(*_: Any) -> Any:
    raise AssertionError("a placeholder is never run")


class Build:
    """Makes nodes under one layer's name. What is made once (constants, ``once``) is shared by all calls and layers."""

    # TensorProto's.
    FLOAT, INT32, INT64, BOOL = 1, 6, 7, 9

    def __init__(self, ctx: Any, name: str, constants: dict[str, str]) -> None:
        self.opset = int(ctx.opset)
        self._ctx = ctx
        self._name = name
        self._constants = constants

    def node(
        self, op_type: str, inputs: Sequence[str], suffix: str, output: str | None = None, **attributes: Any
    ) -> str:
        """Add a node with one output; returns the output's name."""
        made = self._ctx.make_node(
            op_type,
            list(inputs),
            attr=attributes,
            name=f"{self._name}/{suffix}" if suffix else self._name,
            outputs=None if output is None else [output],
        )
        return str(made.output[0])

    def outputs(
        self,
        op_type: str,
        inputs: Sequence[str],
        count: int,
        suffix: str = "",
        **attributes: Any,
    ) -> list[str]:
        """Add a node with several outputs: the layer's own where there is no suffix."""
        made = self._ctx.make_node(
            op_type,
            list(inputs),
            attr=attributes,
            name=f"{self._name}/{suffix}" if suffix else self._name,
            output_count=count,
        )
        return [str(output) for output in made.output]

    def once(self, op_type: str, inputs: Sequence[str], count: int, suffix: str, **attributes: Any) -> str:
        """The last output of a node that is shared by all layers: the same inputs and attributes, the same node."""
        key = f"{op_type} {inputs} {attributes}"
        if key not in self._constants:
            self._constants[key] = self.outputs(op_type, inputs, count, suffix, **attributes)[-1]
        return self._constants[key]

    def constant(self, name: str, array: np.ndarray) -> str:
        if name not in self._constants:
            self._constants[name] = str(self._ctx.make_const(name, np.asarray(array, order="C")).output[0])
        return self._constants[name]

    def reduce(self, op_type: str, x: str, axis: int, suffix: str, output: str | None = None) -> str:
        """Add a ReduceMax, ReduceMean, ReduceMin or ReduceProd over one axis, which is dropped."""
        if self.opset < _AXES_BECOME_AN_INPUT:
            return self.node(op_type, [x], suffix, output, axes=[axis], keepdims=0)
        return self.node(op_type, [x, self.integers([axis])], suffix, output, keepdims=0)

    def graph_output(self, name: str, shape: Sequence[int]) -> None:
        """Have the float32 value ``name`` as a graph output; a size of -1 is free."""
        self._ctx.add_graph_output(name, self.FLOAT, list(shape))

    def zero(self) -> str:
        return self.constant("constant/zero", np.zeros((), np.float32))

    def scalar(self, value: int) -> str:
        return self.constant(f"constant/scalar/{value}", np.array(value, dtype=np.int64))

    def integers(self, values: Sequence[int]) -> str:
        return self.constant("/".join(["constant", *map(str, values)]), np.array(values, dtype=np.int64))

    def product(self, label: str, arrays: Sequence[np.ndarray], x: str, output: str) -> None:
        """x times the matrix that is the first array, plus the second if there is one."""
        kernel = self.constant(f"{label}/kernel", arrays[0])
        if len(arrays) == 1:
            self.node("MatMul", [x, kernel], "MatMul", output)
            return
        product = self.node("MatMul", [x, kernel], "MatMul")
        self.node("Add", [product, self.constant(f"{label}/bias", arrays[1])], "Add", output)

    def sizes(self, x: str, shape: Sequence[int | None], first: int, suffix: str) -> list[int | str]:
        """``shape`` for ``joined``; where a size is free, x's own sizes from axis ``first`` on."""
        fixed = [size for size in shape if size is not None]
        if len(fixed) == len(shape):
            return [*fixed]
        # Not Shape's own start and end, which tf2onnx' optimizer of reshapes does not see.
        whole = self.node("Shape", [x], f"Shape_{suffix}")
        bounds = [self.integers([first]), self.integers([first + len(shape)])]
        return [self.node("Slice", [whole, *bounds], f"Slice_{suffix}")]

    def joined(self, parts: Sequence[int | str], suffix: str) -> str:
        """One list of integers from integers and lists that nodes compute."""
        lists = []
        for known, group in groupby(parts, lambda part: isinstance(part, int)):
            items = list(group)
            lists += [self.integers(cast("list[int]", items))] if known else cast("list[str]", items)
        return lists[0] if len(lists) == 1 else self.node("Concat", lists, suffix, axis=0)
