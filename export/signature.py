"""A model with its inputs: a Sequential or Functional model has them, around a subclassed one they are put here.

No graph of Keras layers can be walked inside a subclassed model: it becomes one call in a Functional model, and what
it computes is seen where it is traced.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .errors import ExportError
from .layers.embedding import Embedding
from .lowering import first_line, pack_inputs
from .quiet import without_noise
from .rebuild import recurrent_layers
from .streamable import embeddings_fed_by
from .trace import recording

_WAY_OUT = (
    "call it once on an array of its inputs before it is saved, or give to_onnx an input_signature, as in "
    '[keras.InputSpec(shape=(None, None, 3), dtype="float32")]'
)


@dataclass(frozen=True)
class Given:
    """The model to export.

    ``model`` has inputs and outputs. ``own`` is the subclassed model inside it, or None; ``free`` builds ``model``
    around it again with free lengths.
    """

    model: Any
    own: Any = None
    free: Callable[[], Any] | None = None


def is_graph(model: Any) -> bool:
    """Whether a model's layers can be followed from input to output: not where ``call`` is the user's own."""
    import keras

    known = isinstance(model, keras.Sequential) or hasattr(model, "_nodes_by_depth")
    return known and str(type(model).call.__module__).startswith("keras.")


def give(model: Any, input_signature: Any = None) -> Given:
    """``model`` itself where it has inputs, else a Functional model around it.

    ``input_signature`` lists the arguments of ``call``: each a keras.InputSpec, a tf.TensorSpec, an array, or a
    structure of them; a dimension of None is free. Raises ExportError where the inputs cannot be known.
    """
    if is_graph(model):
        if input_signature is not None:
            raise ExportError(
                "input_signature is for subclassed models; this one has inputs of its own", argument="input_signature"
            )
        return Given(model)
    if input_signature is None:
        positional, named = _built_with(model)
    else:
        arguments = list(input_signature) if isinstance(input_signature, (list, tuple)) else [input_signature]
        positional, named = [_leaves(item, _spec) for item in arguments], {}
    return _around(model, positional, named)


@contextmanager
def stateless(model: Any) -> Iterator[None]:
    """Use a live model inside the block and leave it as it was.

    Inside, a subclassed model's recurrent layers are without stateful and unroll: it cannot be built again from its
    configuration, as others are. What is called on Keras' symbolic tensors inside is forgotten after it.
    """
    layers = [] if is_graph(model) else recurrent_layers(model)
    kept = [(layer, layer.stateful, layer.unroll) for layer in layers]
    calls = [calls for part in model._flatten_layers() for calls in (part._inbound_nodes, part._outbound_nodes)]
    counts = [len(found) for found in calls]
    try:
        for layer in layers:
            layer.stateful = layer.unroll = False
        yield
    finally:
        for layer, stateful, unroll in kept:
            layer.stateful, layer.unroll = stateful, unroll
        for found, count in zip(calls, counts, strict=True):
            del found[count:]


@dataclass(frozen=True)
class _Leaf:
    """One tensor that ``call`` takes; ``dtype`` is None where nothing says it."""

    shape: tuple[int | None, ...]
    dtype: str | None = None


def _spec(item: Any) -> _Leaf | None:
    shape, dtype = getattr(item, "shape", None), getattr(item, "dtype", None)
    if shape is None:
        return None
    dims = tuple(None if size is None else int(size) for size in shape)
    # An array, or a batch of a certain size: any batch is meant.
    return _Leaf((None, *dims[1:]), None if dtype is None else str(getattr(dtype, "name", dtype)))


def _built_shape(item: Any) -> _Leaf | None:
    if not isinstance(item, (list, tuple)) or not all(size is None or isinstance(size, int) for size in item):
        return None
    return _Leaf((None, *item[1:]))


def _leaves(item: Any, leaf: Callable[[Any], _Leaf | None], where: str = "input_signature") -> Any:
    """The same structure of lists and dictionaries with a _Leaf in each place."""
    found = leaf(item)
    if found is not None:
        return found
    if isinstance(item, Mapping):
        return {str(name): _leaves(value, leaf, where) for name, value in item.items()}
    if isinstance(item, (list, tuple)) and item:
        return [_leaves(value, leaf, where) for value in item]
    raise ExportError(f"{where}: expected a shape and a dtype, got {item!r}; {_WAY_OUT}", argument="input_signature")


def _built_with(model: Any) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of ``call``: positional ones, and by name.

    A Functional model whose ``call`` is the user's own has its inputs; of others Keras keeps the shapes that they were
    built with.
    """
    if getattr(model, "inputs", None):
        return [_leaves(getattr(model, "_inputs_struct", model.inputs[0]), _spec)], {}
    config = model.get_build_config() if model.built else None
    if not config:
        raise ExportError(
            f"{type(model).__name__} is a subclassed model, and Keras has kept no shapes of its inputs; {_WAY_OUT}"
        )
    where = f"the shapes that {type(model).__name__} was built with"
    if "input_shape" in config:
        return [_leaves(config["input_shape"], _built_shape, where)], {}
    shapes = {
        name.removesuffix("_shape"): _leaves(shape, _built_shape, where)
        for name, shape in config.get("shapes_dict", {}).items()
        if shape is not None
    }
    first = next(iter(shapes))
    return [shapes.pop(first)], shapes


def _around(own: Any, positional: Sequence[Any], named: Mapping[str, Any]) -> Given:
    arguments = {"positional": list(positional), "named": dict(named)}
    model = _functional(own, arguments, [leaf.dtype or "float32" for leaf in _flat(arguments)])
    embeddings = fed_embeddings(model)
    # Where nothing says the dtype, ids that an Embedding reads are integers.
    dtypes = [
        leaf.dtype or ("int32" if fed else "float32") for leaf, fed in zip(_flat(arguments), embeddings, strict=True)
    ]
    if any(fed for fed in embeddings):
        model = _functional(own, arguments, dtypes)
    timed = [
        len(leaf.shape) == 3 or (len(leaf.shape) == 2 and bool(fed))
        for leaf, fed in zip(_flat(arguments), embeddings, strict=True)
    ]
    return Given(model, own, lambda: _functional(own, arguments, dtypes, timed))


def _functional(own: Any, arguments: Any, dtypes: Sequence[str], free: Sequence[bool] = ()) -> Any:
    """A Functional model around ``own``; the second axis of the inputs that are ``free`` is."""
    import keras

    leaves, inputs, names = _flat(arguments), [], _names(own, arguments)
    for i, (leaf, dtype, name) in enumerate(zip(leaves, dtypes, names, strict=True)):
        shape = (leaf.shape[0], None, *leaf.shape[2:]) if free and free[i] else leaf.shape
        inputs.append(keras.Input(batch_shape=shape, dtype=dtype, name=name))
    packed = keras.tree.pack_sequence_as(arguments, inputs)
    try:
        with without_noise():
            outputs = own(*packed["positional"], **packed["named"])
            return keras.Model(inputs, outputs, name=f"{own.name}_with_inputs")
    except Exception as error:
        shapes = ", ".join(f"{x.name} {list(x.shape)}" for x in inputs)
        raise ExportError(
            f"{type(own).__name__}.call cannot be followed with the inputs {shapes}: {first_line(error)}; if it takes "
            f"others, {_WAY_OUT}"
        ) from error


def _flat(arguments: Any) -> list[Any]:
    import keras

    return list(keras.tree.flatten(arguments))


def _names(own: Any, arguments: Any) -> list[str]:
    """What each input is called: its key in a dictionary, else the argument of ``call``, numbered in a list."""
    import keras

    parameters = list(inspect.signature(own.call).parameters)
    names: list[str] = []
    for (kind, argument, *rest), _ in keras.tree.flatten_with_path(arguments):
        name = parameters[argument] if kind == "positional" and argument < len(parameters) else str(argument)
        for part in rest:
            name = part if isinstance(part, str) else f"{name}_{part}"
        names.append(name if name not in names else f"{name}_{len(names)}")
    return names


def fed_embeddings(model: Any) -> list[list[Any]]:
    """For each input of the model, the Embedding layers that look it up, in nested and subclassed models too."""
    import keras
    import tensorflow as tf

    found: list[list[Any]] = [embeddings_fed_by(model, tensor) for tensor in model.inputs]
    known = {id(layer) for layers in found for layer in layers}
    hidden = [x for x in model._flatten_layers() if isinstance(x, keras.layers.Embedding) and id(x) not in known]
    if not hidden:
        return found
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in model.inputs]
    forward = tf.function(lambda *tensors: model(pack_inputs(model, tensors), training=False), autograph=False)
    try:
        with recording() as recorder, without_noise():
            graph = forward.get_concrete_function(*specs).graph
    except Exception:
        return found  # what is wrong there is told where the model is converted
    inputs = [tensor.name for tensor in graph.inputs]
    for operation in graph.get_operations():
        record = recorder.records.get(operation.get_attr("token")) if operation.type == "PyFunc" else None
        if not isinstance(record, Embedding) or id(record.layer) in known:
            continue
        source = operation.inputs[0]
        while source.op.type in ("Cast", "Identity"):
            source = source.op.inputs[0]
        if source.name in inputs:
            found[inputs.index(source.name)].append(record.layer)
    return found
