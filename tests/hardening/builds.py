"""Builds of the package that find what a plain one hides: under sanitizers, and with a bug planted.

`sanitized("asan")` builds the package with its C core under AddressSanitizer and UndefinedBehaviorSanitizer, "tsan"
under ThreadSanitizer, "fuzz" as asan and with the coverage that a fuzzer follows. All also have the bugs of
csrc/canary.h in them, each asleep until EI_CANARY names it. A bug in Python is planted in a copy of the package
instead, by `planted`.

They do without setup.py, which compiles one file after the other: half of the time that `make test` has for hardening
would go into it.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILDS = ROOT / "build" / "hardening"
# Where files are written as to a disk, but syncing takes no time.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
# Of UndefinedBehaviorSanitizer all but what it asks at every access: that takes as long again to compile as all else,
# and AddressSanitizer sees an access that goes wrong.
UNDEFINED = "-fsanitize=undefined -fno-sanitize=null,alignment,object-size,pointer-overflow"
SANITIZERS = {
    "asan": f"-fsanitize=address {UNDEFINED} -fno-sanitize-recover=undefined",
    "tsan": "-fsanitize=thread",
    # atheris brings AddressSanitizer's library and not the other's
    "fuzz": f"-fsanitize=address,fuzzer-no-link {UNDEFINED} -fsanitize-trap=undefined",
}
COMPILERS = {"asan": "gcc", "tsan": "gcc", "fuzz": "clang"}
FLAGS = "-std=c11 -O1 -g1 -fno-omit-frame-pointer -ffp-contract=off -fno-math-errno -fPIC -DEI_CANARIES"
LIBRARIES = {"asan": ("libasan.so", "libubsan.so"), "tsan": ("libtsan.so",)}
# CPython frees little at its end, and numpy checks the bounds of its allocations itself. To note the whole stack of
# each allocation takes several times as long as all else.
OPTIONS = {
    "asan": {
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:malloc_context_size=5",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    },
    "tsan": {"TSAN_OPTIONS": "halt_on_error=1:exitcode=66"},
    # what was freed is kept for later reports, which a million runs need not fill memory with
    "fuzz": {"ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:quarantine_size_mb=8:malloc_context_size=4"},
}


def sanitized(sanitizer: str) -> Path:
    """The folder to put on PYTHONPATH; built where a source is newer than what stands there."""
    folder = BUILDS / sanitizer
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        built = folder / ".built"
        if not built.exists() or built.stat().st_mtime < newest_source():
            shutil.rmtree(folder / "lib", ignore_errors=True)
            ignored = shutil.ignore_patterns("__pycache__", "csrc", "*.so")
            shutil.copytree(ROOT / "edgeinfer", folder / "lib" / "edgeinfer", ignore=ignored)
            _build_core(sanitizer, folder)
            built.touch()
    return folder / "lib"


def _build_core(sanitizer: str, folder: Path) -> None:
    import numpy

    kernels = Path("edgeinfer") / "kernels"
    seam = folder / "native.c"
    run([sys.executable, "-m", "cython", "-3", "-I", ".", str(kernels / "native.pyx"), "-o", str(seam)])
    compiler, flags = COMPILERS[sanitizer], f"{FLAGS} {SANITIZERS[sanitizer]}"
    includes = [f"-I{path}" for path in (kernels, numpy.get_include(), sysconfig.get_path("include"))]
    # Cython's own arithmetic is none of ours
    plain = [*flags.replace(UNDEFINED, "").split(), "-DNPY_NO_DEPRECATED_API=NPY_1_7_API_VERSION", *includes]
    objects = compile_core(folder, [compiler, *flags.split()], {seam: [compiler, *plain]})
    target = folder / "lib" / kernels / f"native{sysconfig.get_config_var('EXT_SUFFIX')}"
    run([compiler, "-shared", *SANITIZERS[sanitizer].split(), *map(str, objects), "-lm", "-o", str(target)])


def compile_core(folder: Path, command: Sequence[str], more: Mapping[Path, Sequence[str]] | None = None) -> list[Path]:
    """The C core's files by one command, and others each by its own, as many at once as there are CPUs: the objects."""
    sources = dict.fromkeys(sorted((ROOT / "edgeinfer" / "kernels" / "csrc").glob("*.c")), command)
    sources.update(more or {})
    objects = [folder / f"{path.stem}.o" for path in sources]
    jobs = [[*c, "-c", str(s), "-o", str(o)] for (s, c), o in zip(sources.items(), objects, strict=True)]
    # the largest first, so that none is waited for alone
    jobs.sort(key=lambda job: ("native.c" not in job[-3], "isa_" not in job[-3]))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(run, jobs))
    return objects


def run(command: Sequence[str]) -> None:
    """Raises RuntimeError with what it said where it fails."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def newest_source() -> float:
    files = [ROOT / "setup.py", ROOT / "pyproject.toml", *(ROOT / "edgeinfer").rglob("*.[cph]*")]
    return max(path.stat().st_mtime for path in files if path.suffix not in (".pyc", ".so"))


def environment(sanitizer: str, folder: Path) -> dict[str, str]:
    """What a child process needs to import the package from `folder` with the sanitizer's library loaded first."""
    if sanitizer == "fuzz":
        packages = _site_packages("atheris")
        # libFuzzer takes a mutator that is there when it is loaded
        mutator = packages.glob("atheris/custom_mutator.*.so")
        libraries = [str(path) for path in (packages / "asan_with_fuzzer.so", *mutator)]
    else:
        found = [[COMPILERS[sanitizer], f"-print-file-name={name}"] for name in LIBRARIES[sanitizer]]
        libraries = [subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip() for ask in found]
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


def _site_packages(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise RuntimeError(f"{module} is not installed")
    return Path(spec.origin).parents[1]


def planted(folder: Path, file: str, sound: str, broken: str) -> Path:
    """A copy of the package as it stands, under `folder`, with `sound` replaced by `broken` in edgeinfer/`file`."""
    shutil.copytree(ROOT / "edgeinfer", folder / "edgeinfer", ignore=shutil.ignore_patterns("__pycache__", "csrc"))
    path = folder / "edgeinfer" / file
    text = path.read_text()
    if text.count(sound) != 1:
        raise ValueError(f"{file}: expected {sound!r} once, found it {text.count(sound)} times")
    path.write_text(text.replace(sound, broken))
    return folder
