"""Names that a person can read: a node has its layer's name, a weight its layer's and its own, a value its node's."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import permutations
from typing import Any

import numpy as np

from .layers import Recorder

# What tf2onnx and TensorFlow put behind a name.
GENERATED_SUFFIX = re.compile(r"(__\d+|:\d+)+$")
_RECURRENT = ("GRU", "LSTM", "RNN")
# Lists of a few integers (axes, shapes) say what they are in their name.
_SMALL = 8
_MAX_RANK = 4


def name_all(proto: Any, recorder: Recorder) -> None:
    """Rename every node, and every value but the graph's inputs and outputs."""
    graph = proto.graph
    _share_small_constants(graph)
    owners = _owners(graph, recorder)
    fixed = {v.name for v in graph.input} | {v.name for v in graph.output}
    _name_nodes(graph, recorder, owners)
    taken = set(fixed)
    renamed = _constant_names(graph, recorder, owners, fixed, taken)
    for node in graph.node:
        recurrent = node.op_type in _RECURRENT
        single = sum(1 for name in node.output if name) == 1 and not recurrent
        suffixes = ("Y", "Y_h", "Y_c") if recurrent else [str(i) for i in range(len(node.output))]
        for name, suffix in zip(node.output, suffixes, strict=False):
            if name and name not in fixed:
                renamed[name] = _free_name(node.name if single else f"{node.name}/{suffix}", taken)
    for tensor in graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
    rename_values(proto, renamed)


def rename_values(proto: Any, renamed: Mapping[str, str]) -> None:
    """Give values of the graph other names wherever nodes read or write them."""
    for node in proto.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]


def _own_name(name: str, known: Callable[[str], bool]) -> str | None:
    """The longest part of a name, cut at its slashes, that is known; generated suffixes do not count."""
    for part in (name, GENERATED_SUFFIX.sub("", name)):
        head = part
        while head:
            if known(head):
                return head
            head = head.rpartition("/")[0]
    return None


def _owners(graph: Any, recorder: Recorder) -> list[str]:
    """For each node, the call that it belongs to.

    A node that tf2onnx has made without a name of TensorFlow's belongs where its result is read, else where its input
    comes from: first of all to calls that tf2onnx converts, since a record's nodes all have names.
    """
    records = {record.name for record in recorder.records.values()}
    converted, owners = [], []
    for node in graph.node:
        place = recorder.calls.of(node.name)
        converted.append("" if place is None else place[0].owner.name)
        owners.append(converted[-1] or _own_name(node.name, records.__contains__) or "")
    for known in (converted, owners):
        spread = list(known)
        _spread(graph, spread)
        owners = [own or found for own, found in zip(owners, spread, strict=True)]
    return owners


def _spread(graph: Any, owners: list[str]) -> None:
    """Fill in what is unknown, against the direction of the values and then along it."""
    readers: dict[str, str] = {}
    for i in reversed(range(len(owners))):
        node = graph.node[i]
        owners[i] = owners[i] or next((readers[name] for name in node.output if readers.get(name)), "")
        readers.update((name, owners[i]) for name in node.input)
    writers: dict[str, str] = {}
    for i, node in enumerate(graph.node):
        owners[i] = owners[i] or next((writers[name] for name in node.input if writers.get(name)), "")
        writers.update((name, owners[i]) for name in node.output)


def _name_nodes(graph: Any, recorder: Recorder, owners: list[str]) -> None:
    """A node made for a record keeps what it was called; others are called after their operator."""
    records = {record.name for record in recorder.records.values()}
    taken: set[str] = set()
    for node, owner in zip(graph.node, owners, strict=True):
        own = recorder.calls.of(node.name) is None and _own_name(node.name, records.__contains__) is not None
        wanted = GENERATED_SUFFIX.sub("", node.name) if own and node.name not in records else node.name
        node.name = _free_name(wanted if own else f"{owner}/{node.op_type}".lstrip("/"), taken)


def _share_small_constants(graph: Any) -> None:
    """Equal lists of a few integers are one initializer, called after what they hold."""
    from onnx import numpy_helper

    shared: dict[str, str] = {}
    renamed: dict[str, str] = {}
    kept = []
    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.int64 and array.ndim <= 1 and array.size <= _SMALL:
            kind = "constant" if array.ndim else "constant/scalar"
            name = "/".join([kind, *map(str, array.ravel())])
            renamed[tensor.name] = name
            if name in shared:
                continue
            shared[name] = tensor.name = name
        kept.append(tensor)
    copies = [type(tensor).FromString(tensor.SerializeToString()) for tensor in kept]
    del graph.initializer[:]
    graph.initializer.extend(copies)
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]


def _constant_names(
    graph: Any, recorder: Recorder, owners: list[str], fixed: set[str], taken: set[str]
) -> dict[str, str]:
    """A weight has its layer's name and its own; what else a node reads has the node's, and what it is to the node."""
    from onnx import defs, numpy_helper

    labels = {record.label for record in recorder.records.values()}
    made_here = [tensor.name for tensor in graph.initializer if _made_here(tensor.name, labels)]
    taken.update(made_here)
    readers: dict[str, tuple[Any, int, str]] = {}
    for node, owner in zip(graph.node, owners, strict=True):
        for i, name in enumerate(node.input):
            readers.setdefault(name, (node, i, owner))
    weights = _weights(recorder)
    renamed = {}
    for tensor in graph.initializer:
        if tensor.name in fixed or tensor.name in made_here or tensor.name not in readers:
            continue
        node, position, owner = readers[tensor.name]
        wanted = _weight_name(numpy_helper.to_array(tensor), owner, weights)
        if wanted is None:
            formal = defs.get_schema(node.op_type).inputs
            wanted = f"{node.name}/{formal[min(position, len(formal) - 1)].name}"
        renamed[tensor.name] = _free_name(wanted, taken)
    return renamed


def _made_here(name: str, labels: set[str]) -> bool:
    return name.startswith("constant/") or name.rpartition("/")[0] in labels


def _weights(recorder: Recorder) -> list[tuple[str, Any]]:
    """Every weight of the layers that were called, under its layer's label."""
    found: dict[int, tuple[str, Any]] = {}
    # A layer has the weights of those inside: the innermost, with the fewest, comes last.
    calls = sorted((c for c in recorder.calls if hasattr(c.layer, "weights")), key=lambda c: -len(c.layer.weights))
    for call in calls:
        for weight in call.layer.weights:
            found[id(weight)] = (f"{call.label}/{weight.name}", weight)
    return list(found.values())


def _weight_name(array: np.ndarray, owner: str, weights: list[tuple[str, Any]]) -> str | None:
    """The name of the weight that an initializer holds, its axes in any order."""
    if array.dtype != np.float32 or array.size < 2:
        return None
    flat = np.squeeze(array)
    for name, weight in weights:
        if int(np.prod(weight.shape)) != array.size or name.partition("/")[0] != owner.partition("/")[0]:
            continue
        value = np.squeeze(weight.numpy())
        if np.array_equal(value.ravel(), flat.ravel()):
            return name
        if value.ndim == flat.ndim <= _MAX_RANK and any(
            value.transpose(p).shape == flat.shape and np.array_equal(value.transpose(p), flat)
            for p in permutations(range(flat.ndim))
        ):
            return name
    return None


def _free_name(wanted: str, taken: set[str]) -> str:
    name, i = wanted, 1
    while name in taken:
        name, i = f"{wanted}_{i}", i + 1
    taken.add(name)
    return name
