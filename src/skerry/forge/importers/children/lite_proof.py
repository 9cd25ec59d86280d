"""Run as a program of its own: load a TFLite file that may be anything, and prove that it answers the same each time.

A broken file can end the process that loads it; here that is this one. The task is a JSON file named first; one line
of JSON is printed at the end.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

OUT = os.fdopen(os.dup(1), "w")  # what is said to the parent; what runtimes print goes to standard error
os.dup2(2, 1)
TASK = json.loads(Path(sys.argv[1]).read_text())
sys.path[:] = [TASK["root"], *(p for p in sys.path if Path(p).resolve() != Path(__file__).parent)]

from skerry.core.errors import SkerryError  # noqa: E402
from skerry.engine.arrays import Array  # noqa: E402
from skerry.forge.importers.lite import asked_of_runner, lite_runner  # noqa: E402
from skerry.forge.parity import Feeds, Tolerance, given, prove, prove_made_up  # noqa: E402

ANY = Tolerance(absolute=math.inf, unequal=1.0)


def work() -> dict[str, Any]:
    """Prove that the engine's runner answers as an interpreter that has never run, whatever ran before.

    How far XNNPACK is from TFLite's own kernels is told beside it: quantised models differ by some steps, and on noise
    that is no news of the file.
    """
    path = Path(TASK["path"])
    runner, plain = lite_runner(path), lite_runner(path, plain=True)
    asked = asked_of_runner(runner)

    def fresh(feeds: Feeds) -> dict[str, Array]:
        one = lite_runner(path)
        found = {name: array.copy() for name, array in one.run(feeds).items()}
        one.close()
        return found

    if TASK["inputs"]:
        with np.load(TASK["inputs"], allow_pickle=False) as arrays:
            feeds = [given(asked, dict(arrays), "inputs")]
        found, kernels = prove(fresh, runner, feeds), prove(plain.run, runner, feeds, ANY)
    else:
        found, kernels = prove_made_up(fresh, runner, asked), prove_made_up(plain.run, runner, asked, ANY)
    return dataclasses.asdict(found) | {"kernels": {one.output: one.maximum for one in kernels.outputs}}


def main() -> None:
    """Do the task; print one line of JSON."""
    try:
        print(json.dumps({"done": work()}), file=OUT, flush=True)
    except SkerryError as error:
        kind = type(error).__name__
        print(json.dumps({"error": str(error), "kind": kind}), file=OUT, flush=True)


if __name__ == "__main__":
    main()
