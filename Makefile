# A day's commands. `make demo` needs Python 3.10 or later with venv, a C compiler and make; `make test` 3.10 to 3.13, for
# which TensorFlow has wheels.

PYTHON ?= python3
RUN := .venv
DEV := .venv-dev
BENCH := .venv-bench
SOURCES := pyproject.toml setup.py edgeinfer_command.py $(shell find edgeinfer train export -name '*.py' -o -name '*.py[xi]' -o -name '*.px[di]' \
	-o -name '*.[ch]' -o -name '*.onnx' -o -name '*.csv' -o -name '*.txt')
PYTEST := $(DEV)/bin/python -m pytest
# What is installed is what requirements/ pins, by its hash, and never a build of someone's sources. What is ours comes
# from the clone, and asks no index.
PINNED := --disable-pip-version-check install -q --require-hashes -r
OURS := --disable-pip-version-check install -q --no-index --no-build-isolation

# The core as setup.py builds it.
CSRC := edgeinfer/kernels/csrc
CORE := $(wildcard $(CSRC)/*.[ch])
CORE_FLAGS := -std=c11 -O2 -ffp-contract=off -fno-math-errno

# What $(CC) makes stands in build/cc; `make test-c` and others build the same files with other compilers elsewhere.
.PHONY: check-c run-checks sanitize-c help demo test test-all test-c test-arm regress regress-record lint format wheel check-wheel sbom \
	audit lock models support bench roofline clean

help:
	@echo 'make demo      build the wheel, install it with numpy alone, run edgeinfer demo'
	@echo 'make test      lint, then every test with seeded samples (what CI runs)'
	@echo 'make test-all  the same with the full products'
	@echo 'make test-c    the C core and its checks under gcc and clang, warnings as errors'
	@echo 'make test-arm  the same for AArch64: cross-compiled, run under qemu-user'
	@echo 'make regress   no step of the C core takes more instructions than recorded (valgrind)'
	@echo 'make lint      ruff, mypy, import-linter, cython-lint'
	@echo 'make format    ruff format'
	@echo 'make wheel     build/wheel, from pinned build dependencies; the same sources give the same bytes'
	@echo 'make check-wheel  check-wheel-contents: all of the sources are in the wheel, and nothing else'
	@echo 'make sbom      beside the wheel, what it needs and was built with (CycloneDX)'
	@echo 'make audit     pip-audit: known vulnerabilities of all that requirements/ pins (ARGS="-s osv" asks OSV)'
	@echo 'make lock      pin what pyproject.toml asks for in requirements/ (ARGS=--upgrade: the newest)'
	@echo 'make models    train, export and check the bundled models again (about half an hour)'
	@echo 'make roofline  how fast a step could be on this machine, and how fast the C core is (ARGS="--isa avx2 8,64")'
	@echo 'make support   export 648 Keras models, compare each with Keras, write docs/keras-support.md (20 minutes)'
	@echo 'make bench     time edgeinfer beside other runtimes and write docs/benchmarks.md (about 15 minutes)'
	@echo 'make sanitize-c  the checks of the C core under AddressSanitizer and UndefinedBehaviorSanitizer'
	@echo 'make no_memory  every allocation of load, calls, streams and pools failing in turn (an hour)'
	@echo 'make soak      ten million steps of each kind of stream beside float64: memory, allocations, drift (some hours)'
	@echo 'make fuzz      coverage-guided fuzzing of reader, loader, snapshots, metadata and C core (ARGS="--seconds 3600 loader")'
	@echo 'make kills     kill -9, a thousand times while a state is saved'
	@echo 'make faults    every call that writes a file failing in every way (10 minutes)'
	@echo 'make mutations every prefix of each small model, every flipped bit of the smallest bundled ones (some hours)'
	@echo 'make hostile_graphs  graphs of all operators set to extremes: refused, or right (ARGS="--count 200000")'
	@echo 'make bad_files files that break one rule each, and the error of each'
	@echo 'make escapes   ways out of the folder by external data, watched by strace'
	@echo 'make memory    what loading takes, beside what it may take'
	@echo 'make api       calls of the API in any order under AddressSanitizer, the NumPy reference as the oracle (an hour)'
	@echo 'make threads   eight threads on one model under ThreadSanitizer'
	@echo 'make forks     a thousand forks in the middle of work'
	@echo 'make interrupts  ten thousand SIGINT, and one at each point where Python can take it'
	@echo 'make exits     the end of the interpreter with everything still alive'
	@echo 'make clean     remove what was built'

demo: $(RUN)/.installed
	cd "$$(mktemp -d)" && "$(CURDIR)/$(RUN)/bin/edgeinfer" demo

test: lint
	$(PYTEST) -m 'not slow' --cov=edgeinfer --cov-report=term:skip-covered --cov-fail-under=95

test-all: lint
	$(PYTEST) --cov=edgeinfer --cov-report=term:skip-covered --cov-fail-under=95

lint: $(DEV)/.installed
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy
	$(DEV)/bin/mypy --config-file mypy-workstation.ini train export bench
	$(DEV)/bin/lint-imports
	PATH="$(CURDIR)/$(DEV)/bin:$$PATH" cython-lint edgeinfer/kernels/*.pyx edgeinfer/kernels/*.px[di]

format: $(DEV)/.installed
	$(DEV)/bin/ruff check --fix .
	$(DEV)/bin/ruff format .

wheel: build/wheel/.built

check-wheel: build/wheel/.built $(DEV)/.installed
	.ci/check-wheel $(DEV)/bin build/wheel/*.whl

sbom: $(RUN)/.installed $(DEV)/.installed
	$(DEV)/bin/python .ci/sbom.py build/wheel/*.whl $(RUN)/bin/python build/venv/bin/python

audit: $(DEV)/.installed
	$(DEV)/bin/python .ci/audit.py requirements/*.txt $(if $(ARGS),-- $(ARGS))

# For every Python from 3.10 on, and every platform. A version that stands there stays as long as pyproject.toml lets it.
COMPILE := build/lock/bin/uv pip compile -q --universal --python-version 3.10 --generate-hashes --only-binary :all: \
	--emit-build-options --custom-compile-command 'make lock' $(ARGS)

lock: build/lock/.installed
	$(COMPILE) pyproject.toml -o requirements/runtime.txt
	$(COMPILE) --group build -o requirements/build.txt
	$(COMPILE) --group build --extra dev pyproject.toml -o requirements/dev.txt
	$(COMPILE) --group build --extra bench pyproject.toml -o requirements/bench.txt
	$(COMPILE) --group lock -o requirements/lock.txt

build/lock/.installed: requirements/lock.txt
	$(PYTHON) -m venv --clear build/lock
	build/lock/bin/pip $(PINNED) $<
	touch $@

models: $(DEV)/.installed
	set -e; for name in sum next_word sentiment demand; do \
	  $(DEV)/bin/python -m train $$name --out build/trained; \
	  $(DEV)/bin/python -m export build/trained/$$name.keras -o edgeinfer/models/$$name.onnx; \
	  $(DEV)/bin/python -m train $$name --score edgeinfer/models/$$name.onnx; \
	done

# Every model of the matrix. What Keras' own export makes of them is kept; to ask again, half an hour more:
# python -m tests.export.matrix plain.
support: $(DEV)/.installed
	status=0; $(DEV)/bin/python -m tests.export.matrix export --jobs 2 || status=$$?; \
	  $(DEV)/bin/python -m tests.export.matrix page; exit $$status

# What the C core and everything beside it must compile under, and the checks of tests/csrc on every core that runs.
CHECK_FLAGS := $(CORE_FLAGS) -Wall -Wextra -Wshadow -Wpedantic $(WERROR) -I$(CSRC) -DBUILD_FLAGS='"$(CORE_FLAGS)"'
CHECK_CC := $(CC)
CHECK_OUT := build/cc
CHECKS := tests/csrc/harness.c $(wildcard tests/csrc/test_*.c)
PROBES := GENERIC AVX2 AVX512 NEON

test-c:
	.ci/need gcc=gcc clang=clang
	set -e; for cc in gcc clang; do $(MAKE) --no-print-directory check-c WERROR=-Werror CHECK_CC=$$cc CHECK_OUT=build/$$cc; done

# The same checks under sanitizers, which stop at the first read or write outside a block, and at what C leaves undefined.
SANITIZE := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined -DEI_CANARIES

sanitize-c:
	.ci/need gcc=gcc clang=clang
	set -e; for cc in gcc clang; do \
	  $(MAKE) --no-print-directory run-checks WERROR='-Werror $(SANITIZE)' CHECK_CC=$$cc CHECK_OUT=build/sanitized-$$cc; \
	  for bug in 'gather reads past its table' 'gather overflows'; do \
	    if EI_CANARY="$$bug" build/sanitized-$$cc/test_core generic > /dev/null 2>&1; then \
	      echo "$$cc: the planted bug was not found: $$bug" >&2; exit 1; fi; done; done

# A machine that is AArch64 itself needs neither the cross compiler nor the emulator.
test-arm:
ifeq ($(shell uname -m),aarch64)
	$(MAKE) --no-print-directory check-c WERROR=-Werror CHECK_CC=$(CC) CHECK_OUT=build/arm
else
	.ci/need aarch64-linux-gnu-gcc=gcc-aarch64-linux-gnu /usr/aarch64-linux-gnu/lib/libc.a=libc6-dev-arm64-cross \
	  qemu-aarch64=qemu-user
	$(MAKE) --no-print-directory check-c WERROR=-Werror CHECK_CC='aarch64-linux-gnu-gcc -static' CHECK_OUT=build/arm \
	  CHECK_RUN=qemu-aarch64 CHECK_CORES='neon generic'
endif

# With one compiler, CHECK_CC: everything in C. Then the checks on the cores in CHECK_CORES, or all that can run, under
# the emulator in CHECK_RUN if there is one.
check-c: $(addprefix $(CHECK_OUT)/,roofline instructions) run-checks

run-checks: $(addprefix $(CHECK_OUT)/,test_core test_one_lane)
	set -e; for core in $(or $(CHECK_CORES),$$($(CHECK_RUN) $(CHECK_OUT)/test_core --list)); do \
	  $(CHECK_RUN) $(CHECK_OUT)/test_core $$core; done
	$(CHECK_RUN) $(CHECK_OUT)/test_one_lane generic

CHECK_PROBES := $(addprefix $(CHECK_OUT)/probe_,$(addsuffix .o,$(PROBES)))

$(CHECK_PROBES): $(CHECK_OUT)/probe_%.o: bench/roofline_probes.c $(wildcard bench/*.h) $(CORE)
	mkdir -p $(CHECK_OUT)
	$(CHECK_CC) $(CHECK_FLAGS) -DPROBE_$* -c $< -o $@

$(CHECK_OUT)/roofline $(CHECK_OUT)/instructions: $(CHECK_OUT)/%: bench/%.c bench/programs.c $(CHECK_PROBES) $(CORE)
	$(CHECK_CC) $(CHECK_FLAGS) $< bench/programs.c $(CHECK_PROBES) $(CSRC)/*.c -lm -o $@

# The second with the generic core as compilers get it that have no vector types.
$(CHECK_OUT)/test_core $(CHECK_OUT)/test_one_lane: $(CHECKS) tests/csrc/harness.h $(CORE)
	mkdir -p $(CHECK_OUT)
	$(CHECK_CC) $(CHECK_FLAGS) $(if $(filter %one_lane,$@),-DEI_ONE_LANE) $(CHECKS) $(CSRC)/*.c -lm -o $@

# Instructions do not depend on how busy a machine is. --record, after a change to the kernels, writes what they are now.
regress: REGRESS_ARGS :=
regress-record: REGRESS_ARGS := --record
regress regress-record:
	.ci/need gcc=gcc clang=clang valgrind=valgrind
	set -e; for cc in gcc clang; do \
	  $(MAKE) --no-print-directory build/$$cc/instructions CHECK_CC=$$cc CHECK_OUT=build/$$cc; \
	  $(PYTHON) bench/instructions.py build/$$cc/instructions $(REGRESS_ARGS); done

# Hardening: what shows docs/security.md. Each is a program of tests/hardening; ARGS=--help says what it takes.
.PHONY: api exits faults forks interrupts kills no_memory soak threads
api exits faults forks interrupts kills no_memory soak threads: $(DEV)/.installed
	.ci/need gcc=gcc
	$(DEV)/bin/python -m tests.hardening.$@ $(ARGS)

.PHONY: bad_files escapes hostile_graphs memory mutations
bad_files escapes hostile_graphs memory mutations: $(DEV)/.installed
	.ci/need strace=strace
	$(DEV)/bin/python -m tests.hardening.$@ $(ARGS)

.PHONY: fuzz
fuzz: $(DEV)/.installed
	.ci/need clang=clang
	$(DEV)/bin/python -m tests.hardening.fuzz $(ARGS)

roofline: build/cc/roofline
	build/cc/roofline $(ARGS)

# TensorFlow, which .venv-dev has, converts the models for LiteRT; nothing else of it runs.
bench: $(DEV)/.installed $(BENCH)/.installed build/cc/roofline
	build/cc/roofline --json > build/roofline.json
	$(BENCH)/bin/python -m bench --prepare
	$(DEV)/bin/python -m bench.tflite build/bench
	$(BENCH)/bin/python -m bench --write docs/benchmarks.md --readme README.md

clean:
	rm -rf build dist *.egg-info $(RUN) $(DEV) $(BENCH) edgeinfer/kernels/*.so

# setuptools copies what an older build left in build/lib into the wheel, so it starts from nothing. With the time of the
# last commit in it instead of now, a second build has the same bytes.
build/wheel/.built: $(SOURCES) requirements/build.txt
	rm -rf build/lib* build/temp* build/bdist* build/cython build/wheel
	$(PYTHON) -m venv --clear build/venv
	build/venv/bin/pip $(PINNED) requirements/build.txt
	SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct || echo 315532800)} EDGEINFER_BUILD_EXT=require \
	  build/venv/bin/pip --disable-pip-version-check wheel -q --no-deps --no-build-isolation -w build/wheel .
	touch $@

$(RUN)/.installed: build/wheel/.built requirements/runtime.txt
	$(PYTHON) -m venv --clear $(RUN)
	$(RUN)/bin/pip $(PINNED) requirements/runtime.txt
	$(RUN)/bin/pip $(OURS) build/wheel/*.whl
	touch $@

$(DEV)/.pinned $(BENCH)/.pinned: .venv-%/.pinned: requirements/%.txt
	test -x .venv-$*/bin/python || $(PYTHON) -m venv .venv-$*
	.venv-$*/bin/pip $(PINNED) $<
	touch $@

# pip finds here that requirements/ lacks what pyproject.toml asks for.
$(DEV)/.installed $(BENCH)/.installed: .venv-%/.installed: .venv-%/.pinned pyproject.toml setup.py \
	$(wildcard edgeinfer/kernels/*.p* edgeinfer/kernels/csrc/*)
	EDGEINFER_BUILD_EXT=require .venv-$*/bin/pip $(OURS) -e '.[$*]' || { \
	  echo 'where a distribution is missing that pyproject.toml names: make lock' >&2; exit 1; }
	touch $@
