"""What a worker process does: one case per line on stdin, one JSON object per line out."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from .case import model_of, seed_of
from .cases import all_cases


def examine(name: str) -> dict[str, Any]:
    """The export of one case, by its id."""
    from .check import Result, check

    case = all_cases()[name]
    try:
        model = model_of(case)
        reference = None
        if case.policy != "float32":
            reference = model_of(case, "float32")
            reference.set_weights(model.get_weights())
    except Exception as error:
        return Result("broken", error=type(error).__name__, why=str(error)[:300]).to_dict()
    return check(model, seed_of(name), reference, case.signature).to_dict()


def examine_plain(name: str) -> dict[str, Any]:
    """What Keras' own export makes of one case."""
    from .plain import plain_export

    case = all_cases()[name]
    return plain_export(model_of(case), seed_of(name), case.signature)


def examine_seed(name: str) -> dict[str, Any]:
    """The random model of a seed."""
    from .random_models import examine_random

    return examine_random(int(name))


WORK = {"export": examine, "plain": examine_plain, "random": examine_seed}


def main() -> None:
    """Work until stdin ends. What libraries print goes to stderr."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
    from edgeinfer_export.quiet import import_keras

    import_keras()
    work = WORK[sys.argv[1]]
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        name = json.loads(line)
        print(json.dumps(work(name)), file=out, flush=True)


if __name__ == "__main__":
    main()
