"""Files on a disk that fails: everything that writes one, with every system call that it takes failing in every way.

First a run without faults records the calls that open, write, sync, close, rename, unlink or chmod what lies in the
folder. Then each of them fails: with no space, an I/O error, an interruption, half of what was to be written, or the
process is killed by SIGKILL before it; no space and I/O errors also from then on. Whatever happens, a file is found as
it was or as it should become; files that belong together are never one of the old and one of the new; an error is one
line that names the file; nothing is left beside it; and the same run without a fault then gives the new files.
The record itself has to show each file synced before it is renamed, and its folder after.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import io
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import edgeinfer
from edgeinfer.cli import main as edgeinfer_command
from edgeinfer.errors import EdgeInferError, ModelLoadError
from edgeinfer.snapshot import write_together

from .builds import MEMORY, ROOT
from .preload import preloaded

SHORT, KILL = -1, -2  # as in faults.c
FAULTS = {
    "no space": errno.ENOSPC,
    "I/O error": errno.EIO,
    "interrupted": errno.EINTR,
    "short": SHORT,
    "killed": KILL,
}
# What Python, or whoever writes, tries again.
HARMLESS = ("interrupted", "short")
WHERE = {"interrupted": ("open", "write", "fsync"), "short": ("write",)}
# Of an error: the name that nobody knows, and one that is none.
NOT_SAID = (".tmp", " -> ", "Traceback")
LASTING = ("no space", "I/O error")

Said = tuple[int, str]


class Scenario(NamedTuple):
    """What writes ``outputs`` into a folder that ``prepare`` has filled; ``run`` gives the exit status and stderr.

    first: what may stand there as well, after the first of several writes. TensorFlow's threads do not outlive a fork.
    """

    outputs: tuple[str, ...]
    prepare: Callable[[Path], None]
    run: Callable[[Path], Said]
    first: Callable[[Path], Said] | None = None
    forks: bool = True


def command(*arguments: str | Path, rows: str = "") -> Said:
    """``edgeinfer`` in this process; ``edgeinfer export`` whether or not the package is installed with its commands."""
    texts = [str(argument) for argument in arguments]
    said = io.StringIO()
    with tempfile.TemporaryFile("w+") as given, open(os.devnull, "w") as nowhere:
        given.write(rows)
        given.seek(0)
        before, sys.stdin = sys.stdin, given
        try:
            with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(said):
                if texts[0] == "export":
                    from edgeinfer_export.command import main as export_command

                    status = export_command(texts[1:])
                else:
                    status = edgeinfer_command(texts)
        finally:
            sys.stdin = before
    return status, said.getvalue()


def model(name: str) -> Path:
    return ROOT / "edgeinfer" / "models" / f"{name}.onnx"


def run_with_state(folder: Path, rows: str = "0 0\n") -> Said:
    rows = "".join(",".join(["0.25"] * 24) + "\n" for _ in rows.splitlines())
    return command("run", model("demand"), "--stream", "--mode", "stream", "--state", folder / "state", rows=rows)


def run_to_npz(folder: Path) -> Said:
    return command("run", model("demand"), "--npz", folder / "in.npz", "--out", folder / "out.npz")


def prepare_npz(folder: Path) -> None:
    np.savez(folder / "in.npz", **{"x": np.ones((1, 3, 24), np.float32), "gru/initial_h": np.ones((1, 1, 64), "f4")})
    (folder / "out.npz").write_bytes(b"old")


def quantize(folder: Path) -> Said:
    return command("export", "quantize", model("demand"), "--weights", "int8", "-o", folder / "small.onnx")


def export(folder: Path) -> Said:
    return command("export", folder / "m.keras", "--no-verify", "-o", folder / "m.onnx")


def small_keras() -> Any:
    from edgeinfer_train.recipe import load_keras

    load_keras()
    import keras

    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((None, 2)), keras.layers.GRU(3), keras.layers.Dense(1)])


def prepare_keras(folder: Path) -> None:
    small_keras().save(folder / "m.keras")
    (folder / "m.onnx").write_bytes(b"old")


def save_recipe(folder: Path) -> Said:
    """What ``edgeinfer train`` does once it has trained, with Keras' temporary folder on the same disk."""
    from edgeinfer_train.recipe import Options, Trained, save

    trained = Trained(small_keras(), "forecast", "stream", {}, {}, {"loss": 0.5})
    before, tempfile.tempdir = tempfile.tempdir, str(folder / "tmp")
    try:
        save("m", trained, Options(), folder)
    except EdgeInferError as error:
        return 3, str(error)
    finally:
        tempfile.tempdir = before
    return 0, ""


def prepare_recipe(folder: Path) -> None:
    old("m.keras", "m.json")(folder)
    (folder / "tmp").mkdir()  # where Keras, when it fails, leaves a folder of its own


def together(folder: Path) -> Said:
    try:
        write_together({folder / "one": b"new" * 1000, folder / "two": b"new"})
    except OSError as error:
        return 3, str(error)
    return 0, ""


def old(*names: str) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        for name in names:
            (folder / name).write_bytes(b"old")

    return prepare


SCENARIOS = {
    "run --state": Scenario(("state",), lambda folder: _expect(run_with_state(folder)), run_with_state),
    "run --state, the first time": Scenario(
        ("state",), lambda folder: None, run_with_state, lambda folder: run_with_state(folder, "")
    ),
    "run --out": Scenario(("out.npz",), prepare_npz, run_to_npz),
    "two files": Scenario(("one", "two"), old("one", "two"), together),
    "export quantize": Scenario(("small.onnx",), old("small.onnx"), quantize),
    "export": Scenario(("m.onnx",), prepare_keras, export, forks=False),
    "train": Scenario(("m.keras", "m.json"), prepare_recipe, save_recipe, forks=False),
}
WORKSTATION = ("export quantize", "export", "train")
"""These import or compute what takes seconds."""


def _expect(said: Said) -> None:
    if said[0] != 0:
        raise RuntimeError(f"without a fault: {said[1]}")


class Campaign:
    """One scenario in a folder of its own, call by call."""

    def __init__(self, name: str, library: ctypes.PyDLL, root: Path) -> None:
        self.name = name
        self.scenario = SCENARIOS[name]
        self.findings: list[str] = []
        self.faults = 0
        self._library = library
        library.faults_record.restype = ctypes.c_char_p
        self._root = root
        self._folder = self._prepared()
        self._old = {output: _content(self._folder / output) for output in self.scenario.outputs}
        self._first: dict[str, bytes | None] = {}
        if self.scenario.first is not None:
            _expect(self.scenario.first(self._folder))
            self._first = {output: _content(self._folder / output) for output in self.scenario.outputs}
            self._folder = self._prepared()
        self._kept = sorted(os.listdir(self._folder))
        library.faults_arm(os.fsencode(self._folder), -1, 0, 0)
        _expect(self.scenario.run(self._folder))
        self._library.faults_disarm()
        self.calls = [line.split() for line in library.faults_record().decode().splitlines()]
        self._new = {output: _content(self._folder / output) for output in self.scenario.outputs}
        for output in self.scenario.outputs:
            if self._state(output) != "new":
                self._found(f"{output} is {self._state(output)} after a run without faults")
        self._check_order()

    def run(self, say: Callable[[str], None]) -> None:
        for number, (call, *paths) in enumerate(self.calls):
            for fault, code in FAULTS.items():
                if call not in WHERE.get(fault, (call,)) or (fault == "killed" and not self.scenario.forks):
                    continue
                for lasting in (False, True) if fault in LASTING else (False,):
                    self._examine(number, fault, code, lasting, f"{call} {' '.join(paths)}")
            if number % 10 == 9:
                say(f"{number + 1} of {len(self.calls)} calls")

    def _examine(self, number: int, fault: str, code: int, lasting: bool, call: str) -> None:
        where = f"{self.name}: call {number}, {call}, {fault}{' from then on' if lasting else ''}: "
        self.faults += 1
        self._folder = self._prepared()
        arm = (os.fsencode(self._folder), number, code, int(lasting))
        if fault == "killed":
            self._in_a_child(*arm)
            status, said = None, ""
        else:
            self._library.faults_arm(*arm)
            try:
                status, said = self.scenario.run(self._folder)
            except Exception as error:
                status, said = None, ""
                self._found(f"{where}{type(error).__name__}: {error}")
            finally:
                self._library.faults_disarm()
        states = [self._state(output) for output in self.scenario.outputs]
        if "torn" in states or ("old" in states and "new" in states):
            self._found(f"{where}the files are {', '.join(states)}")
        if status == 0 and set(states) != {"new"}:
            self._found(f"{where}exit status 0, the files are {', '.join(states)}")
        if status not in (None, 0):
            names_it = any(output in said for output in self.scenario.outputs) or str(self._folder) in said
            if fault in HARMLESS or status != 3 or not names_it or any(word in said for word in NOT_SAID):
                self._found(f"{where}exit status {status}: {said!r}")
        left = [name for name in sorted(os.listdir(self._folder)) if name not in (*self._kept, *self.scenario.outputs)]
        if left and fault != "killed" and not (lasting or call.startswith("unlink")):
            self._found(f"{where}left behind: {', '.join(left)}")
        for output, data in self._old.items():
            (self._folder / output).unlink(missing_ok=True)
            if data is not None:
                (self._folder / output).write_bytes(data)
        if self.scenario.run(self._folder)[0] != 0 or {self._state(o) for o in self.scenario.outputs} != {"new"}:
            self._found(f"{where}without the fault the run then fails")
        if self.name.startswith("run --state") and any(name.endswith(".tmp") for name in os.listdir(self._folder)):
            self._found(f"{where}what a killed run left is never removed")

    def _in_a_child(self, *arm: Any) -> None:
        child = os.fork()
        if child == 0:
            self._library.faults_arm(*arm)
            with contextlib.suppress(BaseException):
                self.scenario.run(self._folder)
            os._exit(0)
        if not os.WIFSIGNALED(os.waitpid(child, 0)[1]):
            raise RuntimeError(f"{self.name}: the process was not killed at call {arm[1]}")

    def _prepared(self) -> Path:
        folder = self._root / "disk"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self.scenario.prepare(folder)
        return folder

    def _state(self, output: str) -> str:
        """old, new, first, absent or torn."""
        found = _content(self._folder / output)
        if found == self._new[output] or (found is not None and _is_whole(output, found)):
            return "new"
        if found is None and self._old[output] is not None:
            return "absent"
        if found == self._old[output]:
            return "old"
        return "first" if output in self._first and found == self._first[output] else "torn"

    def _check_order(self) -> None:
        """Each file is synced after it is written and before it is renamed, and its folder after that."""
        text = [" ".join(call) for call in self.calls]
        for i, call in enumerate(self.calls):
            if call[0] != "rename":
                continue
            source = call[1]
            written = [j for j in range(i) if text[j] == f"write {source}"]
            synced = [j for j in range(i) if text[j] == f"fsync {source}"]
            if not written or not synced or synced[-1] < written[-1]:
                self._found(f"{self.name}: {call[2]} is renamed before it is synced")
            if "fsync" not in text[i:]:
                self._found(f"{self.name}: the folder is not synced after {call[2]} is renamed")

    def _found(self, what: str) -> None:
        self.findings.append(what)
        print(what, flush=True)


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _is_whole(name: str, data: bytes) -> bool:
    """For what is never written twice alike: an archive holds times, a converted model counted names."""
    try:
        if name.endswith(".onnx"):
            edgeinfer.load(data)
            return True
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, ModelLoadError):
        return False


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command: 0 nothing found, 1 a finding."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.hardening.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", action="append", choices=SCENARIOS, metavar="NAME", help=", ".join(SCENARIOS))
    arguments = parser.parse_args(argv)
    library = preloaded("faults", sys.argv[1:] if argv is None else argv)
    faults, calls, findings = 0, 0, 0
    names = arguments.only or list(SCENARIOS)
    for name in names:
        with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
            campaign = Campaign(name, library, Path(folder).resolve())

            def say(line: str, name: str = name) -> None:
                print(f"{name}: {line}", file=sys.stderr, flush=True)

            campaign.run(say)
        faults, calls = faults + campaign.faults, calls + len(campaign.calls)
        findings += len(campaign.findings)
    print(f"faults: {faults} faults in {calls} calls of {len(names)} writers, {findings} findings")
    return int(findings > 0)


if __name__ == "__main__":
    sys.exit(main())
