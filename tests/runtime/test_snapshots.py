"""The bytes of a saved stream: what is damaged or belongs elsewhere is refused by name."""

from __future__ import annotations

import errno
import json
import os
import pathlib
import stat
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from graphs import draw, recurrent_model

import edgeinfer
from edgeinfer import snapshot
from edgeinfer.errors import StreamError

SHA = "ab" * 32
ARRAYS = {
    "h": np.arange(6, dtype=np.float32).reshape(1, 2, 3),
    "d": np.array([1.5, np.nan]),
    "i": np.array(-7, np.int32),
    "l": np.array([2**40], np.int64),
    "b": np.array([True, False]),
    "u": np.zeros((0, 3), np.uint8),
}


@pytest.fixture(scope="module")
def model() -> edgeinfer.Model:
    return edgeinfer.load(recurrent_model("GRU", 1, 2, 1))


def test_arrays_come_back_as_they_were() -> None:
    found = snapshot.decode(snapshot.encode("stream", SHA, ARRAYS), "stream", SHA)
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
        found[name][...] = 0  # a copy of its own


def test_any_memory_layout_is_saved_alike() -> None:
    array = np.arange(6.0).reshape(2, 3)
    plain = snapshot.encode("stream", SHA, {"a": array})
    assert snapshot.encode("stream", SHA, {"a": np.asfortranarray(array)}) == plain
    assert snapshot.encode("stream", SHA, {"a": array.astype(">f8")}) == plain


def test_bytes_like_snapshots_are_read() -> None:
    data = snapshot.encode("stream", SHA, ARRAYS)
    for form in (bytearray(data), memoryview(data)):
        assert set(snapshot.decode(form, "stream", SHA)) == set(ARRAYS)  # type: ignore[arg-type]


def test_every_flipped_byte_is_refused_and_the_state_stays(model: edgeinfer.Model) -> None:
    stream = model.stream()
    stream.run([1.0, 2.0])
    before = stream.snapshot()
    for position in range(len(before)):
        data = bytearray(before)
        data[position] ^= 0x55
        expected = "not a snapshot" if position < 4 else "the snapshot is corrupt: its checksum does not match"
        with pytest.raises(StreamError, match=expected):
            stream.restore(bytes(data))
    assert stream.snapshot() == before


def test_every_prefix_is_refused(model: edgeinfer.Model) -> None:
    stream = model.stream()
    data = stream.snapshot()
    for length in range(len(data)):
        with pytest.raises(StreamError, match=r"not a snapshot|the snapshot is corrupt"):
            stream.restore(data[:length])


def test_what_was_never_a_snapshot_is_refused(model: edgeinfer.Model) -> None:
    with pytest.raises(StreamError, match="not a snapshot: expected it to begin with b'EISN', got b'hell'"):
        model.stream().restore(b"hello" * 50)


@pytest.mark.parametrize("data", [None, 5, "EISN"])
def test_what_is_not_bytes_is_refused(model: edgeinfer.Model, data: Any) -> None:
    with pytest.raises(StreamError, match="not a snapshot: expected bytes, got"):
        model.stream().restore(data)


def test_another_models_snapshot_is_refused(model: edgeinfer.Model) -> None:
    other = edgeinfer.load(recurrent_model("GRU", 1, 2, 1, spec={"name": "other"}))
    message = rf"the snapshot belongs to another model: expected sha256 {model.sha256[:12]}…, got {other.sha256[:12]}…"
    with pytest.raises(StreamError, match=message):
        model.stream().restore(other.stream().snapshot())


def sealed(header: Any, body: bytes = b"", version: int = 1, size: int | None = None) -> bytes:
    """Bytes with a right checksum around a header of the test's own."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    head = struct.pack("<4sHH32sI", b"EISN", version, 0, bytes.fromhex(SHA), len(text) if size is None else size)
    data = head + text + body
    return data + struct.pack("<I", zlib.crc32(data))


def array(**change: Any) -> dict[str, Any]:
    return {"kind": "stream", "arrays": [{"name": "h", "dtype": "float32", "shape": [2], **change}]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (sealed({}, version=2), "the snapshot has version 2, this release reads version 1"),
        (sealed(b"{"), "the snapshot is corrupt: unreadable header"),
        (sealed([]), "the snapshot is corrupt: unreadable header"),
        (sealed({"kind": "stream"}), "the snapshot is corrupt: unreadable header"),
        (sealed({"kind": "stream", "arrays": []}, size=2**31), "the snapshot is corrupt"),
        (sealed(array(shape=["x"])), "the snapshot is corrupt: unreadable header"),
        (sealed(array(shape=[float("inf")])), "the snapshot is corrupt: unreadable header"),
        (sealed(array(dtype="object"), bytes(16)), "the snapshot is corrupt: h has dtype object"),
        (sealed(array(shape=[-2]), bytes(8)), r"the snapshot is corrupt: h has dtype float32 and shape \[-2\]"),
        (sealed(array(), bytes(4)), "the snapshot is corrupt: h needs 8 bytes, 4 are left"),
        (sealed(array(), bytes(12)), "the snapshot is corrupt: 4 bytes are left over"),
        (sealed(array(shape=[2**60]), bytes(8)), "the snapshot is corrupt: h needs"),
        (sealed(array(shape=[0, 2**62, 2**62])), "the snapshot is corrupt"),
        (sealed(array(shape=[1] * 100), bytes(4)), "the snapshot is corrupt"),
        (sealed({"kind": "window", "arrays": []}), "the snapshot is of another kind: expected stream, got window"),
    ],
)
def test_a_forged_snapshot_is_refused_by_name(data: bytes, message: str) -> None:
    with pytest.raises(StreamError, match=message):
        snapshot.decode(data, "stream", SHA)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, r"expected the states \['l/initial_h'\], got \[\]"),
        ({"z": np.zeros((1, 1, 2), np.float32)}, r"expected the states \['l/initial_h'\], got \['z'\]"),
        ({"l/initial_h": np.zeros((1, 1, 3), np.float32)}, r"expected float32 \[1, 1, 2\], got float32 \[1, 1, 3\]"),
        ({"l/initial_h": np.zeros((1, 1, 2))}, r"expected float32 \[1, 1, 2\], got float64 \[1, 1, 2\]"),
    ],
)
def test_states_that_are_not_the_models_are_refused(
    model: edgeinfer.Model, arrays: dict[str, np.ndarray], message: str
) -> None:
    stream = model.stream()
    stream.step(1.0)
    before = stream.snapshot()
    with pytest.raises(StreamError, match=message):
        stream.restore(snapshot.encode("stream", model.sha256, arrays))
    assert stream.snapshot() == before


@pytest.mark.parametrize(
    "items",
    [np.zeros((2, 2), np.float32), np.zeros((2, 3), np.float64), np.zeros((9, 3), np.float32), None],
    ids=["other features", "other type", "too long", "absent"],
)
def test_windows_that_are_not_the_models_are_refused(items: np.ndarray | None) -> None:
    model = edgeinfer.load(recurrent_model())
    stream = model.stream(mode="window", window=4)
    arrays = {} if items is None else {"window": items}
    with pytest.raises(StreamError, match="expected a window of at most 4 inputs"):
        stream.restore(snapshot.encode("window", model.sha256, arrays))


# --- files


def test_a_file_is_replaced_as_a_whole(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "s.state"
    snapshot.write_atomically(path, b"one")
    snapshot.write_atomically(str(path), b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["s.state"]


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    path = tmp_path / "s.state"
    snapshot.write_atomically(path, b"old")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(OSError, match=r"disk full: '.*s\.state'$"):
        snapshot.write_atomically(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["s.state"]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EIO])
def test_a_folder_that_cannot_be_synced_keeps_the_file(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    path = tmp_path / "s.state"
    sync = os.fsync

    def fsync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(code, os.strerror(code))
        sync(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    if code == errno.EIO:
        with pytest.raises(OSError, match=r"Input/output error: .*s\.state'"):
            snapshot.write_atomically(path, b"new")
    else:
        snapshot.write_atomically(path, b"new")
    assert path.read_bytes() == b"new"  # whole, only not sure to outlive a loss of power


def test_a_folder_that_may_be_written_but_not_read_takes_a_file(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def refuse(path: str, *arguments: int) -> int:
        if os.path.isdir(path):  # as for a folder of mode 0300, which does not stop root
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(path, *arguments)

    monkeypatch.setattr(os, "open", refuse)
    snapshot.write_atomically(tmp_path / "s", b"new")
    assert (tmp_path / "s").read_bytes() == b"new"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: pathlib.Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        snapshot.write_atomically(pipe, b"data")
        assert os.read(reader, 100) == b"data"
        assert stat.S_ISFIFO(pipe.stat().st_mode) and os.listdir(tmp_path) == ["pipe"]
    finally:
        os.close(reader)


def test_files_that_belong_together_are_replaced_together(tmp_path: pathlib.Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for data in (b"old", b"new"):
        snapshot.write_together({one: data, two: data})
        assert one.read_bytes() == two.read_bytes() == data
    with pytest.raises(IsADirectoryError, match="folder"):
        (tmp_path / "folder").mkdir()
        snapshot.write_together({one: b"newer", two: b"newer", tmp_path / "folder": b""})
    assert one.read_bytes() == two.read_bytes() == b"new"
    assert sorted(os.listdir(tmp_path)) == ["folder", "one", "two"]


def test_leftovers_of_a_crash_are_removed_and_nothing_else(tmp_path: pathlib.Path) -> None:
    for name in (".s.0123abcd.tmp", ".s.0123abcd.tmp2", ".st.0123abcd.tmp", ".s.x.tmp", "s"):
        (tmp_path / name).touch()
    snapshot.remove_leftovers(tmp_path / "s")
    assert sorted(os.listdir(tmp_path)) == [".s.0123abcd.tmp2", ".s.x.tmp", ".st.0123abcd.tmp", "s"]


def test_a_write_into_no_folder_is_the_systems_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError):
        snapshot.write_atomically(tmp_path / "no" / "s.state", b"")


def test_a_stream_goes_on_from_a_file(model: edgeinfer.Model, tmp_path: pathlib.Path) -> None:
    stream = model.stream()
    stream.run(draw(4, 1))
    snapshot.write_atomically(tmp_path / "s", stream.snapshot())
    other = model.stream()
    other.restore((tmp_path / "s").read_bytes())
    assert other.step(0.5) == stream.step(0.5)
