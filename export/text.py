"""Text layers leave the graph: the model from their token ids on, and what the runtime does in their place.

A TextVectorization, StringLookup or IntegerLookup that reads an input of the model becomes an input itself, which
takes what the layer would have answered; the layer's work is described for ``preprocessing`` in the metadata. A
lookup of words for the index of the largest output, at the model's end, becomes the labels of a classifier.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgeinfer.errors import PipelineError
from edgeinfer.pipeline.integers import IntegerEncoder
from edgeinfer.pipeline.text import TextEncoder
from edgeinfer.spec import Spec, Window

from .errors import ExportError
from .signature import is_graph

# The characters of Keras' regular expression; it deletes them, and puts no space.
PUNCTUATION = "!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~'"
_STANDARDIZE = {
    None: ("keep", ""),
    "lower": ("ascii", ""),
    "strip_punctuation": ("keep", PUNCTUATION),
    "lower_and_strip_punctuation": ("ascii", PUNCTUATION),
}
_SPLIT = {None: "none", "whitespace": "ascii_space", "character": "character"}
_KINDS = ("TextVectorization", "StringLookup", "IntegerLookup")


@dataclass(frozen=True)
class Reader:
    """One text layer that was taken out.

    ``source`` is the input of the original model that it reads, ``place`` the input of the model from ids on that
    takes its answers.
    """

    layer: Any
    source: int
    place: int
    encoder: TextEncoder | IntegerEncoder

    @property
    def about(self) -> str:
        """A line for people."""
        what = "integers" if isinstance(self.encoder, IntegerEncoder) else "words"
        return f'layer "{self.layer.name}" ({type(self.layer).__name__}), a vocabulary of ' + (
            f"{len(self.encoder.vocabulary)} {what}"
        )


@dataclass(frozen=True)
class Text:
    """What was taken out of a model.

    ``original`` is the model as it was given, ``model`` the one from the ids on, ``kept`` which input of the
    original each input of the model is, None where a reader gives it. ``labels`` are the words of a lookup at
    the model's end, or None.
    """

    original: Any
    model: Any
    readers: tuple[Reader, ...] = ()
    kept: tuple[int | None, ...] = ()
    labels: tuple[str, ...] | None = None

    def describe(self, recipe: Spec, names: Sequence[str], mode: str | None, window: int | None) -> Spec:
        """The recipe's part of the metadata and the layers' part beside it; ``names`` are those of the inputs.

        Raises ExportError where the recipe or the asked mode says something else than the layers.
        """
        spec = self._with_labels(recipe)
        if not self.readers:
            return spec
        first = self.readers[0].layer
        for key in ("text", "integers", "inputs"):
            if key in recipe.preprocessing:
                raise ExportError(
                    f"the model's own text step, and the recipe has preprocessing.{key} as well; leave one of them out",
                    layer=first.name,
                    argument="preprocessing",
                )
        if len(names) == 1:
            spec = self._with_length(spec, mode, window)
        return spec._replace(preprocessing={**spec.preprocessing, **self.preprocessing(names, self.model.inputs)})

    def preprocessing(self, names: Sequence[str], inputs: Sequence[Any]) -> dict[str, Any]:
        """The metadata of the file that takes ``inputs`` of the model from ids on, under ``names``; None for others."""
        places = {id(tensor): name for tensor, name in zip(inputs, names, strict=True)}
        described = {
            places[id(self.model.inputs[reader.place])]: {_key(reader.encoder): reader.encoder.to_dict()}
            for reader in self.readers
            if id(self.model.inputs[reader.place]) in places
        }
        if not described:
            return {}
        return next(iter(described.values())) if len(names) == 1 else {"inputs": described}

    def _with_length(self, recipe: Spec, mode: str | None, window: int | None) -> Spec:
        """A layer that brings every text to one length makes a window of that length."""
        reader = self.readers[0]
        length = reader.encoder.length if isinstance(reader.encoder, TextEncoder) else None
        if length is None:
            # Keras reads a short text as it is.
            if window is None or recipe.window is not None:
                return recipe
            return recipe._replace(window=Window(window, "partial"))
        asked = window if window is not None else recipe.window.length if recipe.window else length
        if asked != length or (mode or recipe.mode) == "stream":
            what = f"window {asked}" if asked != length else "mode stream"
            raise ExportError(
                f"{what} is not possible: output_sequence_length={length} brings every text to that length; "
                f"use mode window with {length}, or build the layer without it",
                layer=reader.layer.name,
                argument="output_sequence_length",
            )
        return recipe._replace(window=recipe.window or Window(length, "pad", 0.0, "right"))

    def _with_labels(self, recipe: Spec) -> Spec:
        """The task and its labels, where the model's end makes them plain and the recipe says nothing else."""
        if self.labels is not None:
            if recipe.task not in (None, "classify") or "labels" in recipe.postprocessing:
                raise ExportError(
                    "the model itself looks its labels up, and the recipe has a task or labels as well; "
                    "leave one of them out"
                )
            named = recipe._replace(postprocessing={**recipe.postprocessing, "labels": list(self.labels)})
            # The task classifies texts; of another model the labels are told, and its scores are run on arrays.
            return named._replace(task="classify") if self.readers and len(self.model.inputs) == 1 else named
        if recipe.task is not None or not self.readers or len(self.model.inputs) != 1:
            return recipe
        classes = _classes(self.model)
        # As many as there are words: those may be the next word's probabilities.
        if classes is None or classes == len(self.readers[0].encoder.vocabulary):
            return recipe
        labels = recipe.postprocessing.get("labels", [str(i) for i in range(classes)])
        return recipe._replace(task="classify", postprocessing={**recipe.postprocessing, "labels": labels})


def from_ids(model: Any) -> Text:
    """The model from its text layers' answers on; itself where it has none.

    It shares layers and weights with ``model``, whose layers are called again (``stateless`` forgets that). Raises
    ExportError naming layer and argument where the runtime could not give the layer's exact answers.
    """
    if not _holds_text(model) and not _reads_strings(model):
        return Text(model, model)
    return _Cut(model).text()


@dataclass(frozen=True)
class _Words:
    """Stands for what a lookup of words answers, until it turns out to be an output of the model."""

    layer: Any
    scores: Any


@dataclass
class _Cut:
    """One walk along a model that calls every layer but the text layers again."""

    model: Any
    inputs: list[tuple[int, Any]] = field(default_factory=list)  # of which input, what stands for it
    readers: list[tuple[Any, Any, int, TextEncoder | IntegerEncoder]] = field(default_factory=list)

    def text(self) -> Text:
        """Raises ExportError as from_ids."""
        import keras

        given = list(self.model.inputs)
        self.sources = {id(tensor): i for i, tensor in enumerate(given)}
        self.used: set[int] = set()
        outputs = self.run(_graph(self.model), given)
        labels, outputs = self.labels(outputs)
        for i, tensor in enumerate(given):
            # An input that nothing reads stays one, unless it was a text layer's.
            if i in self.used or all(source != i for source, _ in self.inputs):
                self.inputs.append((i, tensor))
        self.inputs.sort(key=lambda entry: entry[0])
        tensors = [tensor for _, tensor in self.inputs]
        free = keras.Model(tensors, outputs if len(outputs) > 1 else outputs[0], name=self.model.name)
        places = {id(tensor): place for place, tensor in enumerate(tensors)}
        readers = tuple(
            Reader(layer, source, places[id(tensor)], encoder) for layer, tensor, source, encoder in self.readers
        )
        read = {reader.place for reader in readers}
        kept = tuple(None if place in read else i for place, (i, _) in enumerate(self.inputs))
        return Text(self.model, free, readers, kept, labels)

    def run(self, graph: Any, arguments: Sequence[Any]) -> list[Any]:
        """What the graph answers to these tensors."""
        import keras

        tensors = {id(inner): outer for inner, outer in zip(graph.inputs, arguments, strict=True)}
        for node in _nodes(graph):
            if node.is_input:
                continue
            read = [tensors[id(tensor)] for tensor in node.arguments.keras_tensors]
            operation = node.operation
            if type(operation).__name__ in _KINDS:
                answers = [self.text_layer(operation, read[0])]
            elif _holds_text(operation):
                answers = self.run(_graph(operation), read)
            else:
                self.refuse_strings(operation, read)
                args, kwargs = node.arguments.fill_in(tensors)
                answers = keras.tree.flatten(operation(*args, **kwargs))
            tensors.update((id(old), new) for old, new in zip(node.outputs, answers, strict=True))
        return [tensors[id(tensor)] for tensor in graph.outputs]

    def text_layer(self, layer: Any, tensor: Any) -> Any:
        """What stands for the answer of a text layer: an input of ids, or the labels."""
        import keras

        check_text_layer(layer)
        if layer.get_config().get("invert"):
            return _Words(layer, _scores_behind(layer, tensor))
        source = self.sources.get(id(tensor))
        if source is None:
            raise ExportError(
                f"{type(layer).__name__} reads what another layer answers; only one that reads an input of the "
                "model becomes preprocessing: put it first, or build the model from the ids on",
                layer=layer.name,
            )
        if type(layer).__name__ == "IntegerLookup" and "int" not in tensor.dtype:
            raise ExportError(
                f'IntegerLookup on an input of {tensor.dtype}: expected integers (keras.Input(…, dtype="int64"))',
                layer=layer.name,
                argument="dtype",
            )
        encoder = _encoder_of(layer, tensor.shape)
        shape = (tensor.shape[0], None) if len(tensor.shape) == 1 else tuple(tensor.shape)
        if type(layer).__name__ == "TextVectorization":
            length = layer.get_config()["output_sequence_length"]
            shape = (shape[0], length if length is not None or encoder.split != "none" else shape[1])  # type: ignore[union-attr]
        ids = keras.Input(batch_shape=shape, dtype="int64", name=self.name(layer, tensor))
        self.inputs.append((source, ids))
        self.readers.append((layer, ids, source, encoder))
        return ids

    def name(self, layer: Any, tensor: Any) -> str:
        """The name of the input that gave way, or the layer's where several layers read that input."""
        given = tensor._keras_history.operation
        taken = {str(other._keras_history.operation.name) for _, other in self.inputs}
        alone = len(given._outbound_nodes) == 1 and given.name not in taken
        name, i = str(given.name if alone else layer.name), 1
        while name in taken:
            name, i = f"{layer.name}_{i}", i + 1
        return name

    def refuse_strings(self, operation: Any, read: Sequence[Any]) -> None:
        """Raise ExportError where a layer reads strings, or words that were looked up."""
        for tensor in read:
            if isinstance(tensor, _Words):
                raise ExportError(
                    f'the words that it looks up are read by layer "{operation.name}"; only at the model\'s end do '
                    "they become labels",
                    layer=tensor.layer.name,
                    argument="invert",
                )
            if tensor.dtype == "string":
                raise ExportError(
                    f"{type(operation).__name__} reads strings; only TextVectorization and StringLookup do outside of "
                    "the graph: prepare the text before the model, or build the model from the ids on",
                    layer=operation.name,
                )
            if id(tensor) in self.sources:
                self.used.add(self.sources[id(tensor)])

    def labels(self, outputs: Sequence[Any]) -> tuple[tuple[str, ...] | None, list[Any]]:
        """The labels of a lookup at the model's end, and the outputs without it."""
        if not any(isinstance(output, _Words) for output in outputs):
            return None, list(outputs)
        words = next(output for output in outputs if isinstance(output, _Words))
        if len(outputs) > 1:
            raise ExportError(
                "the words that it looks up are one of several outputs; export a model with the scores as its "
                "only output",
                layer=words.layer.name,
                argument="invert",
            )
        vocabulary, _ = _entries(words.layer)
        classes = words.scores.shape[-1]
        if classes is None or not 2 <= classes <= len(vocabulary) or len(set(vocabulary[:classes])) < classes:
            raise ExportError(
                f"its vocabulary of {len(vocabulary)} words does not give each of {classes} classes a label of its own",
                layer=words.layer.name,
                argument="vocabulary",
            )
        return tuple(map(str, vocabulary[:classes])), [words.scores]


def check_text_layer(layer: Any) -> None:
    """Raise ExportError where the runtime would not give a text layer's exact answers."""
    import keras

    kind = type(layer).__name__
    if not isinstance(layer, getattr(keras.layers, kind)) or type(layer) is not getattr(keras.layers, kind):
        raise ExportError(
            f"a class of its own named {kind}: what it does is not known; use keras.layers.{kind}", layer=layer.name
        )
    config = layer.get_config()

    def refuse(argument: str, why: str, way_out: str) -> ExportError:
        value = config[argument]
        shown = getattr(value, "__name__", None) or repr(value)
        return ExportError(f"{argument}={shown}: {why}; {way_out}", layer=layer.name, argument=argument)

    for argument, known in (("standardize", _STANDARDIZE), ("split", _SPLIT)):
        if kind == "TextVectorization" and (callable(config[argument]) or config[argument] not in known):
            names = ", ".join(str(name) for name in known)
            raise refuse(
                argument,
                "a function of your own does not travel in a file",
                f"use one of {names}, or prepare the text before the model and build it from the ids on",
            )
    if config["output_mode"] != "int":
        raise refuse(
            "output_mode",
            "only ids are exported",
            'use output_mode="int" before an Embedding, or build the model from the vectors on',
        )
    if config.get("ragged"):
        raise refuse("ragged", "ONNX has no ragged tensors", "ragged=False gives the same ids, padded with 0")
    if str(config.get("encoding", "utf-8")).lower().replace("_", "-") not in ("utf-8", "utf8"):
        raise refuse("encoding", "only UTF-8 is exported", 'use encoding="utf-8"')
    if config.get("num_oov_indices", 1) > 1:
        raise refuse(
            "num_oov_indices",
            "it spreads unknown tokens by a hash that only TensorFlow has",
            "use 1, or 0 to refuse unknown tokens",
        )


def _encoder_of(layer: Any, shape: Sequence[int | None]) -> TextEncoder | IntegerEncoder:
    """What does a layer's work on an input of this shape."""
    kind = type(layer).__name__
    config = layer.get_config()
    splits = kind == "TextVectorization" and config["split"] is not None
    if splits and not (len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)):
        raise _wrong_shape(layer, 'one text each (keras.Input((1,), dtype="string"))', shape)
    if not splits and len(shape) != 2:
        raise _wrong_shape(layer, "a row of tokens each (keras.Input((None,), …))", shape)
    vocabulary, oov = _entries(layer)
    try:
        if kind == "IntegerLookup":
            return IntegerEncoder.from_dict({"vocabulary": vocabulary, "oov": oov})
        described: dict[str, Any] = {"vocabulary": vocabulary, "oov": oov, "split": "none", "case": "keep"}
        if kind == "TextVectorization":
            case, delete = _STANDARDIZE[config["standardize"]]
            ngrams = config["ngrams"]
            described |= {
                "case": case,
                "delete": delete,
                "split": _SPLIT[config["split"]],
                "ngrams": list(range(1, ngrams + 1)) if isinstance(ngrams, int) else list(ngrams or ()),
                "length": config["output_sequence_length"],
            }
        return TextEncoder.from_dict(described)
    except PipelineError as error:
        raise ExportError(str(error), layer=layer.name, argument=error.field) from error


def _wrong_shape(layer: Any, expected: str, shape: Sequence[int | None]) -> ExportError:
    return ExportError(
        f"{type(layer).__name__} on an input of shape {list(shape)}: expected {expected}",
        layer=layer.name,
        argument="shape",
    )


def _entries(layer: Any) -> tuple[list[Any], int | None]:
    """The vocabulary by id, and the id of unknown tokens.

    Read from the table itself: ``get_vocabulary`` goes through NumPy strings, which lose a NUL at the end.
    """
    lookup = getattr(layer, "_lookup_layer", layer)
    config = lookup.get_config()
    integers = type(lookup).__name__ == "IntegerLookup"
    entries: list[Any] = [] if config["mask_token"] is None else [config["mask_token"]]
    oov = len(entries) if config["num_oov_indices"] else None
    entries += [config["oov_token"]] * config["num_oov_indices"]
    if lookup.lookup_table.size() == 0:
        raise ExportError(
            "it has no vocabulary; give it one, or call adapt (an .h5 file keeps none that was adapted: save .keras)",
            layer=layer.name,
            argument="vocabulary",
        )
    keys, values = lookup.lookup_table.export()
    tokens, ids = (values, keys) if config["invert"] else (keys, values)
    known = dict(zip(ids.numpy().tolist(), tokens.numpy().tolist(), strict=True))
    entries += [known[i] for i in range(len(entries), len(entries) + len(known))]
    if integers:
        return [int(entry) for entry in entries], oov
    try:
        return [entry.decode() if isinstance(entry, bytes) else str(entry) for entry in entries], oov
    except UnicodeDecodeError as error:
        raise ExportError(f"a word of its vocabulary is no UTF-8 text: {error}", layer=layer.name) from None


def _scores_behind(layer: Any, index: Any) -> Any:
    """The tensor whose largest value's index is looked up. Raises ExportError where it is not plainly one."""
    history = index._keras_history
    operation = history.operation
    if type(operation).__name__ == "Argmax" and not operation.keepdims and operation.axis is not None:
        scores = operation._inbound_nodes[history.node_index].arguments.keras_tensors[0]
        if len(scores.shape) == 2 and operation.axis in (-1, 1) and _activation(scores) == "softmax":
            return scores
    raise ExportError(
        "invert=True: words are looked up outside of the graph, as labels of keras.ops.argmax(y, axis=-1) of a "
        "softmax [batch, classes]; end the model there, or with the softmax",
        layer=layer.name,
        argument="invert",
    )


def _classes(model: Any) -> int | None:
    """How many classes the probabilities of the only output [batch, n] tell apart, where it is plainly such."""
    if len(model.outputs) != 1:
        return None
    output = model.outputs[0]
    if len(output.shape) != 2 or output.shape[1] is None:
        return None
    activation = _activation(output)
    if activation == "sigmoid" and output.shape[1] == 1:
        return 2
    return output.shape[1] if activation == "softmax" and output.shape[1] > 1 else None


def _activation(tensor: Any) -> str | None:
    """The activation that a tensor comes out of: "sigmoid", "softmax", or None."""
    import keras

    layer = tensor._keras_history.operation
    if isinstance(layer, keras.layers.Softmax):
        return "softmax" if layer.axis in (-1, 1) else None
    if not isinstance(layer, (keras.layers.Dense, keras.layers.Activation)):
        return None
    known: dict[Callable[..., Any], str] = {keras.activations.sigmoid: "sigmoid", keras.activations.softmax: "softmax"}
    return known.get(layer.activation)


def _key(encoder: TextEncoder | IntegerEncoder) -> str:
    return "integers" if isinstance(encoder, IntegerEncoder) else "text"


def _holds_text(operation: Any) -> bool:
    import keras

    return (
        isinstance(operation, keras.Model)
        and is_graph(operation)
        and hasattr(_graph(operation), "_nodes_by_depth")
        and any(type(layer).__name__ in _KINDS for layer in operation._flatten_layers())
    )


def _reads_strings(model: Any) -> bool:
    walked = is_graph(model) and hasattr(_graph(model), "_nodes_by_depth")
    return walked and any(tensor.dtype == "string" for tensor in model.inputs)


def _graph(model: Any) -> Any:
    """The Functional graph behind a Sequential, or the model itself."""
    return getattr(model, "_functional", None) or model


def _nodes(graph: Any) -> list[Any]:
    by_depth = graph._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
