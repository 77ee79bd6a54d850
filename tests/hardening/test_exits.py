"""Every way to end the interpreter, under AddressSanitizer; and that one which is not silent is found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from . import builds, exits, subjects


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield subjects.write(tmp_path_factory.mktemp("models")) / "large.onnx"


@pytest.mark.parametrize("way", exits.WAYS)
def test_the_interpreter_ends_in_silence(way: str, model: Path) -> None:
    assert exits.run(way, model, builds.plain()) == ""


@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=pytest.mark.slow) if i % 4 else way for i, way in enumerate(exits.WAYS)]
)
def test_the_interpreter_ends_in_silence_under_a_sanitizer(way: str, model: Path) -> None:
    assert exits.run(way, model, builds.environment("asan", builds.sanitized("asan"))) == ""


def test_a_finalizer_that_complains_is_found(model: Path, tmp_path: Path) -> None:
    sound = "    def __enter__(self) -> Stream:\n"
    broken = f'    def __del__(self) -> None:\n        self.restore(b"")\n\n{sound}'
    package = builds.planted(tmp_path, "stream.py", sound, broken)
    assert "Exception ignored" in exits.run("everything alive", model, builds.plain(package))
