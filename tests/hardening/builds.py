"""Builds of the package that find what a plain one hides: under sanitizers, and with a bug planted.

`sanitized("asan")` builds the package with its C core under AddressSanitizer and UndefinedBehaviorSanitizer, "tsan"
under ThreadSanitizer. Both also have the bugs of csrc/canary.h in them, each asleep until EI_CANARY names it. A bug in
Python is planted in a copy of the package instead, by `planted`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILDS = ROOT / "build" / "hardening"
# Where files are written as to a disk, but syncing takes no time.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
SANITIZERS = {
    "asan": "-fsanitize=address,undefined -fno-sanitize-recover=undefined",
    "tsan": "-fsanitize=thread",
}
LIBRARIES = {"asan": ("libasan.so", "libubsan.so"), "tsan": ("libtsan.so",)}
# CPython frees little at its end, and numpy checks the bounds of its allocations itself. To note the whole stack of
# each allocation takes several times as long as all else.
OPTIONS = {
    "asan": {
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:malloc_context_size=5",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    },
    "tsan": {"TSAN_OPTIONS": "halt_on_error=1:exitcode=66"},
}


def sanitized(sanitizer: str) -> Path:
    """The folder to put on PYTHONPATH; built with gcc where a source is newer than what stands there."""
    folder = BUILDS / sanitizer
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        built = folder / ".built"
        if not built.exists() or built.stat().st_mtime < newest_source():
            flags = f"-O1 -g -fno-omit-frame-pointer -DEI_CANARIES {SANITIZERS[sanitizer]}"
            environment = {
                **os.environ,
                "CC": "gcc",
                "EDGEINFER_BUILD_EXT": "require",
                "EDGEINFER_CFLAGS": flags,
                "LDFLAGS": SANITIZERS[sanitizer],
            }
            command = [sys.executable, "setup.py", "-q", "build", "--build-base", folder / "obj"]
            shutil.rmtree(folder / "lib", ignore_errors=True)
            done = subprocess.run(
                [*command, "--build-lib", folder / "lib"], cwd=ROOT, env=environment, capture_output=True, text=True
            )
            if done.returncode:
                raise RuntimeError(f"the {sanitizer} build failed:\n{done.stdout}{done.stderr}")
            built.touch()
    return folder / "lib"


def newest_source() -> float:
    files = [ROOT / "setup.py", ROOT / "pyproject.toml", *(ROOT / "edgeinfer").rglob("*.[cph]*")]
    return max(path.stat().st_mtime for path in files if path.suffix not in (".pyc", ".so"))


def environment(sanitizer: str, folder: Path) -> dict[str, str]:
    """What a child process needs to import the package from `folder` with the sanitizer's library loaded first."""
    libraries = [
        subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
        for name in LIBRARIES[sanitizer]
    ]
    return {
        **os.environ,
        **OPTIONS[sanitizer],
        "LD_PRELOAD": " ".join(libraries),
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        "PYTHONMALLOC": "malloc",  # so that the sanitizer sees each object's own bounds
        "PYTHONSAFEPATH": "1",  # or the folder of work would come before PYTHONPATH
        "OPENBLAS_NUM_THREADS": "1",
    }


def plain(package: Path = ROOT) -> dict[str, str]:
    """The same for the package in a folder as it stands, without sanitizers."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(package), str(ROOT)]), "PYTHONSAFEPATH": "1"}


def planted(folder: Path, file: str, sound: str, broken: str) -> Path:
    """A copy of the package as it stands, under `folder`, with `sound` replaced by `broken` in edgeinfer/`file`."""
    shutil.copytree(ROOT / "edgeinfer", folder / "edgeinfer", ignore=shutil.ignore_patterns("__pycache__", "csrc"))
    path = folder / "edgeinfer" / file
    text = path.read_text()
    if text.count(sound) != 1:
        raise ValueError(f"{file}: expected {sound!r} once, found it {text.count(sound)} times")
    path.write_text(text.replace(sound, broken))
    return folder
