"""What a command says of a file that it wrote, to programs and to people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .api import Exported


def report(exported: Exported) -> dict[str, Any]:
    """Ready for JSON."""
    return {
        "path": str(exported.path),
        "bytes": exported.bytes,
        "form": exported.form,
        "mode": exported.spec.mode,
        "window": exported.spec.window.length if exported.spec.window else None,
        "text_layers": dict(exported.text_layers),
        "states": [pair.input for pair in exported.spec.states],
        "stops": exported.stops,
        "limits": dict(exported.limits),
        "nodes": dict(exported.nodes),
        "differences": exported.differences.to_dict() if exported.differences else None,
    }


def raising(limits: Mapping[str, int]) -> str:
    """How a file is loaded that needs ``limits``."""
    options = " ".join(f"--limit {name}={value}" for name, value in limits.items())
    given = ", ".join(f"{name}={value}" for name, value in limits.items())
    return f"edgeinfer run {options}, or load(…, limits=Limits({given}))"


def text(exported: Exported) -> str:
    """A few lines."""
    lines = [
        f'layer "{layer}" became preprocessing; input {name} takes its token ids'
        for name, layer in exported.text_layers.items()
    ]
    if exported.stops:
        lines.append(f"sequence form, without states: {exported.stops}")
    nodes = ", ".join(f"{count} {name}" for name, count in exported.nodes.items())
    mode = f", mode {exported.spec.mode}" if exported.spec.mode else ""
    lines.append(f"{exported.path}: {exported.bytes} bytes, {exported.form} form{mode}; {nodes}")
    if exported.limits:
        lines.append(f"edgeinfer loads it with a limit raised: {raising(exported.limits)}")
    if exported.differences:
        lines.append(f"largest difference relative to max(1, |y|), {exported.differences.cases} inputs")
        lines.append(exported.differences.table())
    else:
        lines.append("not verified")
    return "\n".join(lines)
