"""Run as a program of its own where litert-torch is: a checked torch.export program becomes TFLite.

The task is a JSON file named first; one line of JSON is printed at the end. It never imports our package.
Inputs are args_0, args_1 … in the program's order and outputs output_0, output_1 …, each with a fixed shape.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

OUT = os.fdopen(os.dup(1), "w")  # what is said to the parent; what frameworks print goes to standard error
os.dup2(2, 1)

import litert_torch  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from ai_edge_quantizer import quantizer, recipe  # noqa: E402
from torch.utils import _pytree as pytree  # noqa: E402

SIGNATURE = "serving_default"
ENDS = ("INPUT", "OUTPUT")  # stay float32, so that the file is called as its source


class Flat(torch.nn.Module):
    """A program with positional tensors in and a tuple of tensors out."""

    def __init__(self, program: torch.export.ExportedProgram, places: list[list[Any]]) -> None:
        super().__init__()
        self.inner = program.module(check_guards=False)
        self.tree = program.call_spec.in_spec
        self.places = places
        for module in self.modules():
            module.training = False  # an exported program refuses eval(); it was exported as it answers

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Give every tensor that the program gives."""
        waiting = iter(tensors)
        flat = [next(waiting) if place[0] else place[1] for place in self.places]
        args, kwargs = pytree.tree_unflatten(flat, self.tree)
        return tuple(x for x in pytree.tree_leaves(self.inner(*args, **kwargs)) if isinstance(x, torch.Tensor))


def read(path: str, names: list[str]) -> list[np.ndarray]:
    """Return the arrays of a file in the order of their names."""
    with np.load(path, allow_pickle=False) as arrays:
        return [arrays[name] for name in names]


def convert(task: dict[str, Any]) -> dict[str, Any]:
    """Write the program as TFLite of the asked kind."""
    names = task["names"]
    program = torch.export.load(task["source"])
    sample = tuple(torch.from_numpy(array) for array in read(task["sample"], names))
    print("> litert-torch converts the model", file=sys.stderr, flush=True)
    model = litert_torch.convert(Flat(program, task["places"]), sample)
    model.export(task["out"])
    if task["lite"] != "float":
        shrink(task, names)
    found = {name: importlib.metadata.version(name) for name in ("litert-torch", "ai-edge-quantizer", "torch")}
    return {"versions": found}


def shrink(task: dict[str, Any], names: list[str]) -> None:
    """Quantise the file in place."""
    print("> ai-edge-quantizer quantises the model", file=sys.stderr, flush=True)
    static = task["lite"] == "int8"
    rules = recipe.static_wi8_ai8() if static else recipe.dynamic_wi8_afp32()
    ends = [{"regex": ".*", "operation": end, "algorithm_key": "no_quantize", "op_config": {}} for end in ENDS]
    worker = quantizer.Quantizer(task["out"], [*rules, *ends] if static else rules)
    ranges = None
    if static:
        samples = [
            {f"args_{place}": array for place, array in enumerate(read(path, names))} for path in task["calibration"]
        ]
        ranges = worker.calibrate({SIGNATURE: samples})
    done = worker.quantize(ranges) if ranges is not None else worker.quantize()
    Path(task["out"]).unlink()
    done.export_model(task["out"])


def main() -> None:
    """Do the task; print one line of JSON."""
    task = json.loads(Path(sys.argv[1]).read_text())
    try:
        print(json.dumps({"done": convert(task)}), file=OUT, flush=True)
    except Exception as error:  # boundary: frameworks raise what they like
        traceback.print_exc()
        text = " ".join(f"{type(error).__name__}: {error}".split())[:600]
        print(
            json.dumps({"error": f"litert-torch cannot convert it: {text}", "kind": "LoadFailed"}), file=OUT, flush=True
        )


if __name__ == "__main__":
    main()
