"""Ways out of a model's folder by external data, and what the system was really asked to open meanwhile.

A child process loads one file for each way while strace writes down every file that it opens, with the path that the
kernel found. Each has to be refused, and nothing opened but the model's own file and folders beneath its own.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

import edgeinfer
from edgeinfer import ModelFormatError, ModelLimitError
from edgeinfer.graph.ops import every_operator

from .builds import ROOT

OURS = np.array([1.5, -2.0, 4.0], np.float32)
SECRET = np.array([13.0, 13.0, 13.0], np.float32)
SWAPS = 300
SOUND, SWAPPED = "sound.onnx", "swapped.onnx"
# Whatever is traced between these two was asked for by a load; they name no file.
BEGIN, END = "/hardening-begins", "/hardening-ends"
_SUCCESS = re.compile(r"\bopen(?:at2?)?\(.*= (\d+)<(.*)>$")


class Way(NamedTuple):
    name: str
    entries: list[tuple[str, str]]
    place: str


def ways(outside: Path) -> list[Way]:
    """All ways; ``outside`` is a folder that the model must not reach."""
    secret = outside / "secret.bin"
    locations = {
        "absolute": str(secret),
        "absolute, two slashes": f"/{secret}",
        "parent": "../secret.bin",
        "parent, and back": "../model/weights.bin",
        "parent of a folder in it": "deep/../../secret.bin",
        "dot": "./weights.bin",
        "dot between": "deep/./weights.bin",
        "many parents": "../" * 40 + "etc/passwd",
        "link to a file outside": "link.bin",
        "link to a file beside it": "inner_link.bin",
        "link to a link": "link_to_link.bin",
        "link to itself": "loop.bin",
        "link that leads nowhere": "dangling.bin",
        "linked folder": "up/secret.bin",
        "linked folder, and back": "up/model/weights.bin",
        "link to its own folder": "here/weights.bin",
        "linked folder further in": "deep/out/secret.bin",
        "hard link": "hardlink.bin",
        "hard link to a file in it": "twin.bin",
        "pipe": "fifo.bin",
        "socket": "socket.bin",
        "link to a device": "device.bin",
        "link to the process's files": "fd",
        "through /proc": "proc/root/etc/passwd",
        "absolute /proc": "/proc/self/root/etc/passwd",
        "absolute /dev": "/dev/zero",
        "standard input": "/dev/stdin",
        "a folder": "deep",
        "a folder with a slash": "deep/",
        "itself": ".",
        "its parent": "..",
        "nothing": "",
        "two slashes within": "deep//weights.bin",
        "slash behind": "weights.bin/",
        "file as a folder": "weights.bin/secret.bin",
        "backslashes": "..\\secret.bin",
        "drive": "C:\\secret.bin",
        "drive without a folder": "C:weights.bin",
        "share": "\\\\host\\share\\secret.bin",
        "address": f"file://{secret}",
        "home": "~/secret.bin",
        "variable": "$PWD/../secret.bin",
        "zero byte": "weights.bin\0/../secret.bin",
        "percent": "%2e%2e/secret.bin",
        "wide dots": "\uff0e\uff0e/secret.bin",
        "blank behind dots": ".. /secret.bin",
        "too long": "a" * 300,
        "too long a path": "a/" * 3000 + "b",
    }
    found = [Way(name, [("location", location)], "initializer") for name, location in locations.items()]
    found += [
        Way("said twice, the last leads out", [("location", "weights.bin"), ("location", str(secret))], "initializer"),
        Way("in the value of a Constant", [("location", str(secret))], "Constant"),
        Way("in a branch", [("location", str(secret))], "branch"),
        Way("in a folder below a branch", [("location", "up/secret.bin")], "branch"),
        Way("offset below 0", [("location", "weights.bin"), ("offset", "-4")], "initializer"),
        Way("offset of 2**64 - 4", [("location", "weights.bin"), ("offset", str(2**64 - 4))], "initializer"),
        Way("offset behind the end", [("location", "weights.bin"), ("offset", "8")], "initializer"),
        Way("length of 2**63", [("location", "weights.bin"), ("length", str(2**63 - 1))], "initializer"),
    ]
    return found


def model(way: Way) -> bytes:
    """y = x + t, where t lies in another file: an initializer, a Constant's value, or one of an If's branch."""
    # not in the child: ONNX Runtime, imported there as well, opens files of its own when it pleases
    from graphs import build, node, value
    from onnx import ModelProto, TensorProto, helper

    tensor = TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    for key, text in way.entries:
        tensor.external_data.add(key=key, value=text)
    add = node("Add", ["x", "t"], ["y"])
    if way.place == "branch":
        branch = helper.make_graph([], "branch", [], [value("t", [3])], [tensor])
        add = node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    nodes = [node("Constant", [], ["t"], value=tensor), add] if way.place == "Constant" else [add]
    proto = ModelProto.FromString(build(nodes, [value("x", [3])], [value("y", [3])]))
    if way.place == "initializer":
        proto.graph.initializer.append(tensor)
    return proto.SerializeToString()


def lay_out(outside: Path) -> Path:
    """model/ with its weights in ``outside``, among files that it must not reach, and a model for every way out."""
    (outside / "secret.bin").write_bytes(SECRET.tobytes())
    home = outside / "model"
    (home / "deep").mkdir(parents=True)
    for path in (home / "weights.bin", home / "deep" / "weights.bin"):
        path.write_bytes(OURS.tobytes())
    links = {
        "link.bin": outside / "secret.bin",
        "inner_link.bin": "weights.bin",
        "link_to_link.bin": "link.bin",
        "loop.bin": "loop.bin",
        "dangling.bin": "nothing.bin",
        "up": "..",
        "here": ".",
        "deep/out": outside,
        "device.bin": "/dev/zero",
        "fd": "/proc/self/fd/0",
        "proc": "/proc/self",
    }
    for name, target in links.items():
        (home / name).symlink_to(target)
    (outside / "secret_too.bin").write_bytes(SECRET.tobytes())
    os.link(outside / "secret_too.bin", home / "hardlink.bin")
    (home / "plain.bin").write_bytes(OURS.tobytes())
    os.link(home / "plain.bin", home / "twin.bin")
    os.mkfifo(home / "fifo.bin")
    os.mknod(home / "socket.bin", stat.S_IFSOCK | 0o644)
    files = {f"{number}.onnx": way for number, way in enumerate(ways(outside))}
    files[SOUND] = Way("sound", [("location", "deep/weights.bin")], "initializer")
    files[SWAPPED] = Way("swapped", [("location", "swapped.bin")], "initializer")
    for name, way in files.items():
        (home / name).write_bytes(model(way))
    return home


def load_all(outside: Path) -> list[str]:
    """In the child: load every way's file, then one whose weights are swapped for a link meanwhile. What went wrong."""
    home = outside / "model"
    wrong = []
    every_operator()
    path = home / SOUND
    for backend in ("auto", "native"):  # what else is imported late, is now
        found = edgeinfer.load(path, external_data=True, backend=backend)(np.zeros(3))  # type: ignore[arg-type]
        if not np.array_equal(found, OURS):
            wrong.append(f"sound: {found}")
    for number, way in enumerate(ways(outside)):
        with _traced():
            try:
                edgeinfer.load(home / f"{number}.onnx", external_data=True)
                wrong.append(f"{way.name}: it loads")
            except (ModelFormatError, ModelLimitError, edgeinfer.UnsupportedOperatorError):
                pass
            except Exception as error:
                wrong.append(f"{way.name}: {type(error).__name__}: {error}")
    path = home / SWAPPED
    with _swapping(home / "swapped.bin", outside / "secret.bin"), _traced():
        for _ in range(SWAPS):
            try:
                got = edgeinfer.load(path, external_data=True, backend="native")(np.zeros(3))
                if not np.array_equal(got, OURS):
                    wrong.append(f"swapped while it was loaded: {got}")
            except ModelFormatError:
                pass
    return wrong


class _traced:  # noqa: N801 (a pair of marks in the trace)
    def __enter__(self) -> None:
        os.path.exists(BEGIN)

    def __exit__(self, *_: object) -> None:
        os.path.exists(END)


class _swapping:  # noqa: N801 (a context)
    """While it lasts, another thread lets ``path`` be a plain file and a link to ``secret`` by turns."""

    def __init__(self, path: Path, secret: Path) -> None:
        self._path, self._secret = path, secret
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._swap)

    def __enter__(self) -> None:
        self._path.write_bytes(OURS.tobytes())
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _swap(self) -> None:
        new = self._path.with_suffix(".new")
        while not self._over.is_set():
            new.symlink_to(self._secret)
            new.rename(self._path)
            # a rename opens nothing, so that what the trace shows are the loads; the plain file is a third one's name
            shutil.copyfile(self._path.with_name("weights.bin"), new)
            new.rename(self._path)


def opened(trace: str) -> Iterator[str]:
    """The paths that were opened between the marks, as the kernel resolved them."""
    watching = False
    for line in trace.splitlines():
        if BEGIN in line:
            watching = True
        elif END in line:
            watching = False
        elif watching and (found := _SUCCESS.search(line)):
            yield found[2].removesuffix(" (deleted)")  # the swapped one, when it was swapped just then


def search(package: Path | None = None) -> tuple[int, int, list[str]]:
    """How many ways were tried, how many files opened, and what was wrong. ``package``: where edgeinfer comes from."""
    with tempfile.TemporaryDirectory() as folder:
        outside = Path(folder).resolve()
        home = lay_out(outside)
        trace = outside.parent / f"{outside.name}.trace"
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([*([str(package)] if package else []), str(ROOT)]),
            "PYTHONSAFEPATH": "1",
        }
        command = ["strace", "-f", "-y", "-qq", "-s", "5000", "-e", "trace=open,openat,openat2,stat,newfstatat,statx"]
        try:
            child = subprocess.run(
                [*command, "-o", trace, sys.executable, "-m", "tests.hardening.escapes", "--child", outside],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
            )
            if child.returncode not in (0, 1):
                raise RuntimeError(f"the child ended with {child.returncode}:\n{child.stderr[-3000:]}")
            wrong = child.stdout.split("\n")[:-1]
            allowed = {str(home), str(home / "deep"), str(home / "weights.bin")}
            allowed.update(map(str, home.glob("*.onnx")))
            found = list(opened(trace.read_text(errors="replace")))
        finally:
            trace.unlink(missing_ok=True)
        own = {str(home / "swapped.bin"), str(home / "swapped.new")}
        wrong += sorted({f"opened {path}" for path in found if path not in allowed | own})
        return len(ways(outside)), len(found), wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hardening.escapes", description=__doc__)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        wrong = load_all(options.child)
        print("".join(f"{what}\n" for what in wrong), end="")
        return 1 if wrong else 0
    count, files, wrong = search()
    print(f"escapes: {count} ways and {SWAPS} swaps, {files} files opened, {len(wrong)} findings")
    print("".join(f"{what}\n" for what in wrong), end="")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
