"""What a hostile file does to one part of a valid one: each function hurts one place of a graph, or leaves it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, MutableSequence
from typing import Any

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgeinfer.graph.ops import every_operator
from edgeinfer.spec import SPEC_KEY

INTEGERS = [
    *(0, 1, -1, 2, 3, -2, 5, 7, 8, 16, 17, 63, 64, 65, 127, 255, 1 << 15, 1 << 16, (1 << 20) + 1, (1 << 31) - 1),
    *(1 << 31, -(1 << 31), (1 << 32) - 1, 1 << 32, 1 << 40, 1 << 61, 1 << 62, (1 << 63) - 1, -(1 << 63), -(1 << 62)),
]  # fmt: skip
FLOATS = [0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 1e-38, 3e38, -3e38, 1e9, float("inf"), float("-inf"), float("nan")]
TEXTS = [
    "",
    "a",
    "x" * 2000,
    "é",
    "\n",
    'a"b',
    "a\0b",
    "../x",
    "%s%n{0}",
    "\U0001f600",
    "NOTSET",
    "linear",
    "none",
    "Tanh",
]
TYPES = [*range(24), 1 << 20, -1]
OPERATORS = [*every_operator(), "If", "Loop", "Scan", "Constant", "Optional", "nonsense", "edgeinfer.Dense"]


def hurt(rng: random.Random, model: ModelProto, count: int) -> tuple[bytes, list[str]]:
    """The bytes of the model with ``count`` hurts, and the hurts' names."""
    done = []
    chosen = rng.choices(GRAPH_HURTS, k=count)
    for function in chosen:
        function(rng, model)
        done.append(function.__name__)
    data = model.SerializeToString()
    if count and rng.random() < 0.1:
        data = hurt_bytes(rng, data)
        done.append("hurt_bytes")
    return data, done


def hurt_attribute(rng: random.Random, model: ModelProto) -> None:
    """A value, an element, the type, or the attribute as a whole."""
    node = _some(rng, [n for n in model.graph.node if n.attribute])
    if node is None:
        return
    attribute = rng.choice(node.attribute)
    way = rng.random()
    if way < 0.05:
        attribute.type = rng.choice(TYPES[:15])
    elif way < 0.1:
        node.attribute.remove(attribute)
    elif way < 0.13:
        node.attribute.append(attribute)
    elif way < 0.18:
        _replace_attribute(rng, node, attribute.name)
    elif attribute.type == AttributeProto.INT:
        attribute.i = rng.choice(INTEGERS)
    elif attribute.type == AttributeProto.FLOAT:
        attribute.f = rng.choice(FLOATS)
    elif attribute.type == AttributeProto.STRING:
        attribute.s = rng.choice([*(text.encode() for text in TEXTS), b"\xff\xfe"])
    elif attribute.type == AttributeProto.INTS:
        _hurt_list(rng, attribute.ints, INTEGERS)
    elif attribute.type == AttributeProto.FLOATS:
        _hurt_list(rng, attribute.floats, FLOATS)
    elif attribute.type == AttributeProto.STRINGS:
        _hurt_list(rng, attribute.strings, [text.encode() for text in TEXTS])
    elif attribute.type == AttributeProto.TENSOR:
        _hurt_tensor(rng, attribute.t)


def _replace_attribute(rng: random.Random, node: NodeProto, name: str) -> None:
    """The same name with a value of another kind."""
    kept = [a for a in node.attribute if a.name != name]
    made: Any = rng.choice(
        [1, 1.5, "text", [1, 2], [1.5], ["a"], numpy_helper.from_array(np.zeros((2, 0), np.float32), "t")]
    )
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, made)])


def _hurt_list(rng: random.Random, values: MutableSequence[Any], extremes: list[Any]) -> None:
    way = rng.random()
    if not values or way < 0.15:
        values.append(rng.choice(extremes))
    elif way < 0.3:
        values.pop()
    elif way < 0.35:
        del values[:]
    elif way < 0.4:
        values.extend([values[0]] * rng.choice([1, 7, 40]))
    else:
        values[rng.randrange(len(values))] = rng.choice(extremes)


def add_attribute(rng: random.Random, model: ModelProto) -> None:
    """One that an operator somewhere has, with any value."""
    node = _some(rng, model.graph.node)
    if node is None:
        return
    names = ["axis", "axes", "perm", "clip", "layout", "to", "alpha", "group", "keepdims", "direction", "hidden_size",
             "activations", "activation_alpha", "pads", "strides", "mode", "equation", "value"]  # fmt: skip
    name = rng.choice(names)
    if all(a.name != name for a in node.attribute):
        item: Any = rng.choice([rng.choice(INTEGERS), rng.choice(FLOATS), rng.choice(TEXTS), [rng.choice(INTEGERS)]])
        node.attribute.append(helper.make_attribute(name, item))


def hurt_constant(rng: random.Random, model: ModelProto) -> None:
    tensor = _some(rng, model.graph.initializer)
    if tensor is not None:
        _hurt_tensor(rng, tensor)


def _hurt_tensor(rng: random.Random, tensor: TensorProto) -> None:
    way = rng.random()
    if way < 0.1:
        tensor.data_type = rng.choice(TYPES)
    elif way < 0.35:
        _hurt_list(rng, tensor.dims, INTEGERS)
    elif way < 0.4:
        tensor.raw_data = tensor.raw_data[: rng.randrange(len(tensor.raw_data) + 1)]
    elif way < 0.45:
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=rng.choice(["/etc/passwd", "../x", "x"]))
    else:
        _hurt_values(rng, tensor)


def _hurt_values(rng: random.Random, tensor: TensorProto) -> None:
    """Other numbers, or the same in another type or shape: consistent, so that only their meaning is wrong."""
    if tensor.data_location == TensorProto.EXTERNAL or tensor.data_type in (0, TensorProto.STRING):
        return
    try:
        array = numpy_helper.to_array(tensor).copy()
    except (ValueError, TypeError, KeyError, AttributeError):
        return  # an earlier hurt left nothing to read
    way = rng.random()
    if way < 0.2:
        dtype = rng.choice([np.float32, np.float64, np.float16, np.int64, np.int32, np.int8, np.uint8, np.bool_])
        with np.errstate(all="ignore"):
            array = array.astype(dtype)
    elif way < 0.35 and array.ndim:
        array = np.moveaxis(array, 0, -1) if rng.random() < 0.5 else array[: rng.randrange(len(array) + 1)]
    elif way < 0.45:
        array = array[None] if array.ndim == 0 or rng.random() < 0.5 else array[0] if len(array) else array
    elif array.size:
        flat = array.reshape(-1)
        if array.dtype.kind == "f":
            flat[rng.randrange(flat.size)] = rng.choice(FLOATS) if rng.random() < 0.5 else rng.gauss(0, 1e4)
        elif array.dtype.kind in "iu":
            info = np.iinfo(array.dtype)
            flat[rng.randrange(flat.size)] = min(max(rng.choice(INTEGERS), info.min), info.max)
        elif array.dtype.kind == "b":
            flat[rng.randrange(flat.size)] ^= True
        array = flat.reshape(array.shape)
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))


def hurt_declaration(rng: random.Random, model: ModelProto) -> None:
    """What an input or output says of itself."""
    declared = _some(rng, [*model.graph.input, *model.graph.output])
    if declared is None:
        return
    found = declared.type.tensor_type
    way = rng.random()
    if way < 0.15:
        found.elem_type = rng.choice(TYPES)
    elif way < 0.2:
        found.ClearField("shape")
    elif way < 0.25:
        declared.ClearField("type")
    elif way < 0.35:
        found.shape.dim.add().dim_value = rng.choice(INTEGERS)
    elif way < 0.45 and found.shape.dim:
        found.shape.dim.pop()
    elif way < 0.7 and found.shape.dim:
        rng.choice(found.shape.dim).dim_value = rng.choice(INTEGERS)
    elif way < 0.9 and found.shape.dim:
        dim = rng.choice(found.shape.dim)
        dim.dim_param = rng.choice(["batch", "time", *TEXTS])
    else:
        declared.name = _name(rng, model)


def rewire(rng: random.Random, model: ModelProto) -> None:
    """An input of a node becomes any other value, its own output, nothing, or one that does not exist."""
    node = _some(rng, [n for n in model.graph.node if n.input])
    if node is None:
        return
    way = rng.random()
    at = rng.randrange(len(node.input))
    if way < 0.1:
        node.input.append(_name(rng, model))
    elif way < 0.2:
        node.input.pop()
    elif way < 0.3:
        node.input[at] = ""
    elif way < 0.4 and node.output:
        node.input[at] = rng.choice(node.output)
    elif way < 0.5:
        other = rng.randrange(len(node.input))
        node.input[at], node.input[other] = node.input[other], node.input[at]
    elif way < 0.55:
        node.input.extend([node.input[0]] * rng.choice([3, 70]))
    else:
        node.input[at] = _name(rng, model)


def hurt_outputs(rng: random.Random, model: ModelProto) -> None:
    node = _some(rng, [n for n in model.graph.node if n.output])
    if node is None:
        return
    way = rng.random()
    if way < 0.25:
        node.output[rng.randrange(len(node.output))] = ""
    elif way < 0.5:
        node.output[rng.randrange(len(node.output))] = _name(rng, model)
    elif way < 0.75:
        node.output.append(rng.choice(["", "more", _name(rng, model)]))
    else:
        node.output.pop()


def hurt_ends(rng: random.Random, model: ModelProto) -> None:
    """Which values go in and out of the graph."""
    graph = model.graph
    way = rng.random()
    some = helper.make_tensor_value_info(
        _name(rng, model), rng.choice([1, 1, 7, 6, 9]), rng.choice([None, [1], ["batch"]])
    )
    if way < 0.3:
        graph.output.append(some)
    elif way < 0.5:
        graph.input.append(some)
    elif way < 0.6 and graph.output:
        graph.output.pop()
    elif way < 0.7 and graph.input:
        graph.input.pop()
    elif way < 0.8 and graph.output:
        graph.output.append(graph.output[0])
    elif way < 0.9 and graph.initializer:
        tensor = rng.choice(graph.initializer)
        graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)[:9]))
    elif graph.input:
        graph.output.append(graph.input[0])


def hurt_nodes(rng: random.Random, model: ModelProto) -> None:
    """Which nodes there are, and in which order."""
    nodes = list(model.graph.node)
    if not nodes:
        return
    way = rng.random()
    if way < 0.3:
        rng.shuffle(nodes)
    elif way < 0.5:
        nodes.remove(rng.choice(nodes))
    elif way < 0.7:
        nodes.insert(rng.randrange(len(nodes)), rng.choice(nodes))
    else:
        # a copy that writes other values and is read somewhere
        twin = NodeProto.FromString(rng.choice(nodes).SerializeToString())
        for i, name in enumerate(twin.output):
            twin.output[i] = f"{name}/twin" if name else ""
        nodes.append(twin)
        reader = rng.choice(nodes)
        if reader.input and twin.output:
            reader.input[rng.randrange(len(reader.input))] = twin.output[0]
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def insert_node(rng: random.Random, model: ModelProto) -> None:
    """A node between a value and one that reads it."""
    reader = _some(rng, [n for n in model.graph.node if any(n.input)])
    if reader is None:
        return
    at = rng.choice([i for i, name in enumerate(reader.input) if name])
    made = f"inserted{len(model.graph.node)}"
    other = rng.choice([reader.input[at], reader.input[0], _name(rng, model)])
    op, ins, attributes = rng.choice([
        *((op, [reader.input[at]], {}) for op in ("Relu", "Neg", "Exp", "Identity", "Softmax", "Shape", "Size")),
        *((op, [reader.input[at], other], {}) for op in ("Add", "Mul", "Max", "MatMul", "Expand", "Gather", "Tile")),
        ("Transpose", [reader.input[at]], {}), ("Transpose", [reader.input[at]], {"perm": [1, 0, 2]}),
        ("Concat", [reader.input[at], other], {"axis": rng.choice([0, 1, -1, 2])}),
        ("Cast", [reader.input[at]], {"to": rng.choice([1, 6, 7, 9, 10, 11])}),
        ("CumSum", [reader.input[at], other], {}), ("ConstantOfShape", [reader.input[at]], {}),
        ("Flatten", [reader.input[at]], {"axis": rng.choice([0, 1, 2, -1])}),
        ("Where", [other, reader.input[at], reader.input[at]], {}),
    ])  # fmt: skip
    node = helper.make_node(op, ins, [made], name=made, **attributes)
    reader.input[at] = made
    nodes = [NodeProto.FromString(n.SerializeToString()) for n in model.graph.node]
    place = next((i for i, n in enumerate(nodes) if made in n.input), 0)
    nodes.insert(place, node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def another_operator(rng: random.Random, model: ModelProto) -> None:
    node = _some(rng, model.graph.node)
    if node is not None:
        if rng.random() < 0.9:
            node.op_type = rng.choice(OPERATORS)
        else:
            node.domain = rng.choice(["ai.onnx", "ai.onnx.ml", "com.microsoft", *TEXTS])


def another_opset(rng: random.Random, model: ModelProto) -> None:
    if rng.random() < 0.8 and model.opset_import:
        model.opset_import[0].version = rng.choice([*range(9, 28), *INTEGERS])
    else:
        model.opset_import.add(domain=rng.choice(["", "ai.onnx", *TEXTS]), version=rng.choice([17, *INTEGERS]))


def rename(rng: random.Random, model: ModelProto) -> None:
    """Nodes without names, with one name, or a value whose name nobody would choose, everywhere it stands."""
    way = rng.random()
    if way < 0.3:
        for node in model.graph.node:
            node.name = rng.choice(["", "same"])
        return
    old, new = _name(rng, model), rng.choice(TEXTS)
    for node in model.graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == old:
                    names[i] = new
    for item in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        if item.name == old:
            item.name = new


def add_subgraph(rng: random.Random, model: ModelProto) -> None:
    """The graph itself as a branch, some levels deep."""
    node = _some(rng, model.graph.node)
    if node is None:
        return
    inner = GraphProto.FromString(model.graph.SerializeToString())
    for _ in range(rng.choice([0, 1, 3])):
        outer = GraphProto(name="level")
        outer.node.append(helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=GraphProto()))
        inner = outer
    if all(a.name != "then_branch" for a in node.attribute):
        node.attribute.append(helper.make_attribute(rng.choice(["then_branch", "body"]), inner))
    if rng.random() < 0.5:
        node.op_type = rng.choice(["If", "Loop", "Scan"])


def hurt_metadata(rng: random.Random, model: ModelProto) -> None:
    """A field of edgeinfer.spec, at any depth, or the text as a whole."""
    entries = {entry.key: entry for entry in model.metadata_props}
    entry = entries.get(SPEC_KEY) or model.metadata_props.add(key=SPEC_KEY, value='{"schema_version": 1}')
    if rng.random() < 0.15:
        text = entry.value
        entry.value = rng.choice(
            [text[: len(text) // 2], "", "null", "[]", "{}", "1e999", "[" * 100, '{"a":NaN}', "\ufeff{}"]
        )
        return
    try:
        spec = json.loads(entry.value)
    except ValueError:
        return
    names = [item.name for item in (*model.graph.input, *model.graph.output)]
    if isinstance(spec, dict) and rng.random() < 0.7:
        pair = {"input": rng.choice([*names, "x"]), "output": rng.choice([*names, "y"])}
        key, new = rng.choice([
            ("mode", "window"), ("mode", "stream"), ("mode", rng.choice(TEXTS)), ("states", [pair]),
            ("states", []), ("states", [pair] * 3), ("activations", "int8"), ("weights", "int8"),
            ("window", {"length": rng.choice(INTEGERS)}),
            ("window", {"length": 3, "start": rng.choice(["pad", "partial", "wait"]), "pad_value": rng.choice(FLOATS)}),
            ("task", rng.choice(["forecast", "classify", "next_token", "tag", ""])), ("tolerance", rng.choice(FLOATS)),
            ("encoder", {"sha256": "0" * 64, "states": {pair["input"]: "a"}, "constants": {pair["output"]: "b"}}),
            ("goldens", [{"name": "g", "inputs": {}, "outputs": {}}]), ("schema_version", rng.choice(INTEGERS)),
        ])  # fmt: skip
        spec[key] = new
        if spec.get("mode") == "window":
            spec.setdefault("window", {"length": rng.choice([1, 2, 5, 1 << 20])})
    else:
        spec = _hurt_json(rng, spec)
    entry.value = json.dumps(spec)


def _hurt_json(rng: random.Random, item: Any) -> Any:
    """The same with one value in it replaced."""
    if isinstance(item, dict) and item and rng.random() < 0.85:
        key = rng.choice(sorted(item))
        return {**item, key: _hurt_json(rng, item[key])}
    if isinstance(item, list) and item and rng.random() < 0.85:
        at = rng.randrange(len(item))
        return [*item[:at], _hurt_json(rng, item[at]), *item[at + 1 :]]
    new = [None, True, False, {}, [], "", [[]], {"a": {}}, 10**400, *INTEGERS, *FLOATS, *TEXTS]
    return rng.choice(new)


def hurt_bytes(rng: random.Random, data: bytes) -> bytes:
    """Below what protobuf can say: bytes changed, cut out, said twice."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        if not changed:
            break
        at = rng.randrange(len(changed))
        length = rng.choice([1, 1, 2, 4, 10, 50])
        way = rng.random()
        if way < 0.5:
            changed[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        elif way < 0.7:
            del changed[at : at + length]
        elif way < 0.9:
            changed[at:at] = changed[at : at + length]
        else:
            changed[at:at] = rng.randbytes(length)
    return bytes(changed)


def _some(rng: random.Random, items: Any) -> Any:
    return rng.choice(items) if len(items) else None


def _name(rng: random.Random, model: ModelProto) -> str:
    """Of a value of the graph, mostly one that exists."""
    graph = model.graph
    names = [name for node in graph.node for name in (*node.input, *node.output) if name]
    names += [item.name for item in (*graph.input, *graph.output, *graph.initializer)]
    return rng.choice([*names, rng.choice([*TEXTS, "nowhere"])])


GRAPH_HURTS: list[Callable[[random.Random, ModelProto], None]] = [
    *[hurt_attribute] * 4,
    *[hurt_constant] * 5,
    *[hurt_declaration] * 4,
    *[rewire] * 3,
    *[insert_node] * 5,
    *[hurt_metadata] * 3,
    add_attribute,
    hurt_outputs,
    hurt_ends,
    hurt_nodes,
    another_operator,
    another_opset,
    rename,
    add_subgraph,
]
