"""TFLite: a file that is served as it is, and the file that a PyTorch program becomes through litert-torch."""

from __future__ import annotations

import importlib.metadata
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from skerry.core.errors import Invalid, LoadFailed, RunFailed
from skerry.core.names import shown
from skerry.core.tensor import Spec
from skerry.engine.arrays import Array
from skerry.engine.runners.litert_file import operators
from skerry.engine.runners.runner import Lane, Runner, Threads, Wish
from skerry.engine.runners.table import open_runner
from skerry.forge.importers.scan_lite import custom_operators
from skerry.forge.importers.tools import LITERT, python_of, run
from skerry.forge.importers.torch_source import TorchModel
from skerry.forge.importers.what import Import, Watch
from skerry.forge.parity import Asked, Difference, Feeds, Parity, Tolerance

KNOWN = frozenset(("AudioSpectrogram", "Mfcc", "NumericVerify", "TFLite_Detection_PostProcess"))  # LiteRT has them
FLEX = "Flex"  # a TensorFlow operator inside TFLite: needs TensorFlow itself


class Renamed:
    """A runner under other names: those of the source, in the same order."""

    remembers = False

    def __init__(self, runner: Runner, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> None:
        self._runner, self._ins, self._outs = runner, inputs, outputs
        self.inputs = tuple(Spec(name, _one(runner.inputs, own).dtype, _one(runner.inputs, own).shape)
                            for name, own in inputs.items())  # fmt: skip
        self.outputs = tuple(Spec(name, _one(runner.outputs, own).dtype, _one(runner.outputs, own).shape)
                             for name, own in outputs.items())  # fmt: skip

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run under the runner's own names."""
        found = self._runner.run({self._ins[name]: array for name, array in feeds.items()})
        return {name: found[own] for name, own in self._outs.items()}

    def lane(self) -> Lane:
        """Return the runner's lane."""
        return self._runner.lane()

    def close(self) -> None:
        """Close the runner."""
        self._runner.close()


def _one(specs: tuple[Spec, ...], name: str) -> Spec:
    for spec in specs:
        if spec.name == name:
            return spec
    raise LoadFailed(f"the TFLite file has no '{name}'; it has {', '.join(s.name for s in specs)}")


def check_lite(path: Path) -> None:
    """Raise LoadFailed naming operators that are not TFLite's own, or a broken table of them."""
    strange = [name for name in custom_operators(path) if name not in KNOWN]
    if strange:
        names = ", ".join(shown(name) for name in strange[:8])
        why = "; it was converted with TensorFlow operators (select TF ops)" if strange[0].startswith(FLEX) else ""
        raise LoadFailed(f"{path}: custom operators that cannot be run here: {names}{why}")
    operators(path)


def lite_runner(path: Path, plain: bool = False) -> Runner:
    """Return the engine's runner of a file; `plain` is TFLite's own kernels without XNNPACK: the reference."""
    return open_runner("litert", path, Threads(), Wish(options={"xnnpack": False}) if plain else Wish())


def asked_of_runner(runner: Runner) -> tuple[Asked, ...]:
    """Return what a runner's model takes; free dimensions but the first are each their own."""
    return tuple(
        Asked(s.name, s.dtype, tuple(d if d >= 0 else "batch" if p == 0 else f"{s.name}.{p}"
                                     for p, d in enumerate(s.shape)))
        for s in runner.inputs
    )  # fmt: skip


def by_place(runner: Runner, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Renamed:
    """Return the runner of litert-torch's file under the program's names.

    The quantiser may lose the signature, and with it the names of outputs; their places stay.
    """
    given = {spec.name for spec in runner.outputs}
    named = all(f"output_{place}" in given for place in range(len(outputs)))
    if len(runner.outputs) != len(outputs):
        raise LoadFailed(f"the TFLite file has {len(runner.outputs)} outputs, its source {len(outputs)}")
    return Renamed(
        runner,
        {name: f"args_{place}" for place, name in enumerate(inputs)},
        {name: f"output_{place}" if named else runner.outputs[place].name for place, name in enumerate(outputs)},
    )


def as_served(answers: Mapping[str, Array], runner: Runner) -> dict[str, Array]:
    """Return a source's answers with whole numbers as wide as the file's: TFLite makes int64 of an argmax int32."""
    found = dict(answers)
    for spec in runner.outputs:
        array = found.get(spec.name)
        if array is not None and array.dtype.kind in "iu" and spec.dtype.integer:
            low, high = spec.dtype.bounds
            if not array.size or (array.min() >= low and array.max() <= high):
                found[spec.name] = array.astype(spec.dtype.numpy)
    return found


def to_lite(
    model: TorchModel, sample: Feeds, wishes: Import, watch: Watch, scratch: Path
) -> tuple[bytes, dict[str, str]]:
    """Return a program as TFLite of the asked kind, and the versions of what made it."""
    python = python_of(LITERT, wishes.tools, watch)
    source, out = scratch / "program.pt2", scratch / "program.tflite"
    source.write_bytes(model.saved())
    np.savez(scratch / "sample.npz", allow_pickle=False, **sample)
    task: dict[str, Any] = {
        "source": str(source),
        "out": str(out),
        "sample": str(scratch / "sample.npz"),
        "names": list(model.inputs),
        "places": model.places,
        "lite": wishes.lite,
        "calibration": [str(p) for p in write_calibration(wishes, model.inputs, scratch)],
    }
    done = run(python, "litert_convert.py", task, wishes.seconds, watch)
    return out.read_bytes(), {str(k): str(v) for k, v in done["versions"].items()}


def write_calibration(wishes: Import, names: tuple[str, ...], scratch: Path) -> list[Path]:
    """Write the calibration inputs for a child; raise Invalid if int8 has none or one lacks an input."""
    if wishes.lite != "int8":
        return []
    if not wishes.calibration:
        raise Invalid("calibration: int8 needs real inputs, 100 or more; give them with --data")
    paths = []
    for number, one in enumerate(wishes.calibration):
        if set(one) != set(names):
            raise Invalid(f"calibration {number}: expected arrays {', '.join(names)}; got {', '.join(one) or 'none'}")
        paths.append(scratch / f"calibration-{number}.npz")
        np.savez(paths[-1], allow_pickle=False, **one)
    return paths


def prove_apart(path: Path, wishes: Import, watch: Watch) -> Parity:
    """Return the proof of a TFLite file, made in a process of its own: a broken file may end the one that loads it."""
    with tempfile.TemporaryDirectory(prefix="skerry-lite-") as scratch:
        inputs = ""
        if wishes.inputs is not None:
            inputs = f"{scratch}/inputs.npz"
            np.savez(inputs, allow_pickle=False, **wishes.inputs)
        task = {"path": str(path.absolute()), "inputs": inputs, "root": str(Path(__file__).parents[3])}
        try:
            done = run(Path(sys.executable), "lite_proof.py", task, wishes.seconds, watch)
        except RunFailed as error:
            raise LoadFailed(f"{path}: LiteRT cannot run it: {error}") from None
    for name, apart in dict(done.pop("kernels")).items():
        watch(f"output '{name}': XNNPACK and TFLite's own kernels differ by at most {apart:.3g}")
    outputs = tuple(Difference(**one) for one in done.pop("outputs"))
    tolerance = Tolerance(**done.pop("tolerance"))
    return Parity(outputs=outputs, tolerance=tolerance, shapes=tuple(done.pop("shapes")), **done)


def version() -> str:
    """Return LiteRT's version."""
    return importlib.metadata.version("ai-edge-litert")
