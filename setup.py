"""The compiled core and its build switch; everything static stands in pyproject.toml.

EDGEINFER_BUILD_EXT=auto (default)  build the core, or install without it where that fails
                    require         fail where it cannot be built
                    skip            do not build it
"""

from __future__ import annotations

import os
import sys
from glob import glob

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CHOICES = ("auto", "require", "skip")
CSRC = "edgeinfer/kernels/csrc"


class BuildCore(build_ext):
    """Builds the core; where it cannot and need not, says so and goes on."""

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:
            if choice == "require":
                raise
            print(
                f"edgeinfer: the C core was not built ({error}); the NumPy backend will answer instead. "
                "EDGEINFER_BUILD_EXT=require makes this an error.",
                file=sys.stderr,
            )
            self.extensions = []


def extensions() -> list[Extension]:
    import numpy
    from Cython.Build import cythonize

    flags = ["/O2"] if sys.platform == "win32" else ["-std=c11", "-O2", "-ffp-contract=off", "-fno-math-errno", "-g0"]
    core = Extension(
        "edgeinfer.kernels.native",
        ["edgeinfer/kernels/native.pyx", *sorted(glob(f"{CSRC}/*.c"))],
        include_dirs=[numpy.get_include(), "edgeinfer/kernels"],
        depends=glob(f"{CSRC}/*.h"),
        libraries=[] if sys.platform == "win32" else ["m"],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
        extra_link_args=["-Wl,-s"] if sys.platform == "linux" else [],
        extra_compile_args=[*flags, *os.environ.get("EDGEINFER_CFLAGS", "").split()],
    )
    return list(cythonize([core], include_path=["."], build_dir="build/cython"))


choice = os.environ.get("EDGEINFER_BUILD_EXT", "auto")
if choice not in CHOICES:
    raise SystemExit(f"EDGEINFER_BUILD_EXT: expected one of {', '.join(CHOICES)}, got {choice!r}")

setup(ext_modules=[] if choice == "skip" else extensions(), cmdclass={"build_ext": BuildCore})
