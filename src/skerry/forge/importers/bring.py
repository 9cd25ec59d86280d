"""Bring a model in: look, convert, prove. One function; each kind of source has its file beside this one."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx

from skerry.core.errors import Invalid, LoadFailed, SkerryError
from skerry.engine.runners.runner import Runner
from skerry.forge.importers import lite, tensorflow_source, torch_source
from skerry.forge.importers.kinds import Kind, digest_source, kind_of
from skerry.forge.importers.onnx_checks import check_operators, parse_onnx
from skerry.forge.importers.onnx_source import asked_of, bring_onnx, check_whole, clean, plain_runner, runner_of
from skerry.forge.importers.tensorflow_source import TensorflowModel
from skerry.forge.importers.tools import TENSORFLOW, python_of
from skerry.forge.importers.torch_source import TorchModel
from skerry.forge.importers.what import Import, Imported, Provenance, Watch
from skerry.forge.parity import (
    EXACT,
    QUANTISED,
    Asked,
    Feeds,
    Parity,
    Reference,
    Tolerance,
    given,
    prove,
    prove_made_up,
    rounds,
)

__all__ = ["Import", "Imported", "bring"]


def bring(source: Path | str, wishes: Import, watch: Watch) -> Imported:
    """Return a model as one file that is proven to answer as its source.

    Raises NotFound, Invalid, TooLarge, LoadFailed naming what is wrong before long work; ParityLost at the end.
    """
    kind = kind_of(source)
    watch(f"{source}: {kind.value}")
    path = Path(source)
    with tempfile.TemporaryDirectory(prefix="skerry-import-") as folder:
        scratch = Path(folder)
        if kind is Kind.FUNCTION:
            return _torch(
                torch_source.build(str(source), wishes), _digest_function(str(source), wishes), wishes, watch, scratch
            )
        if kind is Kind.PROGRAM:
            if wishes.shapes:
                raise Invalid("shape: a torch.export program has its shapes in it; export it again for others")
            return _torch(torch_source.read_program(path), digest_source(path), wishes, watch, scratch)
        if kind is Kind.ONNX:
            return _onnx(path, wishes, watch, scratch)
        if kind is Kind.TFLITE:
            return _lite(path, wishes, watch)
        return _tensorflow(path, kind, wishes, watch, scratch)


def _onnx(path: Path, wishes: Import, watch: Watch, scratch: Path) -> Imported:
    _no_lite(wishes, "ONNX")
    data = bring_onnx(path, wishes, watch)
    proto = parse_onnx(data, str(path))
    runner = runner_of(data, scratch)
    try:
        reference = plain_runner(path)
    except LoadFailed as error:  # too old for ONNX Runtime: what was converted is all that can be run
        watch(f"the file as given does not run here, the proof is against the converted one: {error}")
        reference = plain_runner(scratch / "imported.onnx")
    parity = _proof(reference.run, runner, asked_of(proto), wishes, watch)
    reference.close()
    versions = {"onnx": onnx.__version__}
    return _imported("onnx", data, runner, parity, Provenance("onnx", versions, digest_source(path)))


def _torch(model: TorchModel, source: str, wishes: Import, watch: Watch, scratch: Path) -> Imported:
    versions = {"torch": torch_source.version()}
    if wishes.lite:
        sample = model.single()
        if wishes.inputs is not None:
            sample = {name: wishes.inputs[name] for name in model.inputs if name in wishes.inputs}
        data, more = lite.to_lite(model, sample, wishes, watch, scratch)
        runner: Runner = lite.by_place(_loaded(data, scratch), model.inputs, model.outputs)
        parity = _proof(
            lambda f: lite.as_served(model.answer(f), runner), runner, lite.asked_of_runner(runner), wishes, watch
        )
        return _imported("litert", data, runner, parity, Provenance("pytorch", versions | more, source))
    watch("PyTorch writes ONNX")
    data = torch_source.to_onnx(model)
    proto = parse_onnx(data, model.where)
    runner = runner_of(data, scratch)
    parity = _proof(model.answer, runner, asked_of(proto), wishes, watch)
    return _imported("onnx", data, runner, parity, Provenance("pytorch", versions, source))


def _tensorflow(path: Path, kind: Kind, wishes: Import, watch: Watch, scratch: Path) -> Imported:
    if kind is Kind.KERAS:
        tensorflow_source.check_keras(path)
    elif kind is Kind.SAVED:
        tensorflow_source.check_saved(path)
    names = tuple(wishes.calibration[0]) if wishes.calibration else ()
    calibration = lite.write_calibration(wishes, names, scratch)
    python = python_of(TENSORFLOW, wishes.tools, watch)
    source = path.absolute()
    if kind in (Kind.KERAS, Kind.HDF5):  # Keras tells them apart by the name's end alone
        source = scratch / ("model.keras" if kind is Kind.KERAS else "model.h5")
        source.symlink_to(path.absolute())
    model = TensorflowModel(python, source, scratch, wishes, watch)
    data = model.convert(kind, calibration)
    if wishes.lite:
        runner: Runner = _loaded(data, scratch)
    else:
        data = _tidy(data, str(path))
        runner = runner_of(data, scratch)
    asked = model.asked()
    feeds = [given(asked, wishes.inputs, "inputs")] if wishes.inputs else [f for group in rounds(asked) for f in group]
    model.prepare(feeds)
    parity = _proof(model.answer, runner, asked, wishes, watch)
    versions = model.versions
    return _imported("litert" if wishes.lite else "onnx", data, runner, parity,
                     Provenance("tensorflow", versions, digest_source(path)))  # fmt: skip


def _lite(path: Path, wishes: Import, watch: Watch) -> Imported:
    _no_lite(wishes, "TFLite")
    if wishes.shapes:
        raise Invalid("shape: a TFLite file is served as it is")
    lite.check_lite(path)
    parity = lite.prove_apart(path, wishes, watch)
    runner = lite.lite_runner(path)
    versions = {"ai-edge-litert": lite.version()}
    return _imported("litert", path.read_bytes(), runner, parity, Provenance("tflite", versions, digest_source(path)))


def _proof(reference: Reference, runner: Runner, asked: tuple[Asked, ...], wishes: Import, watch: Watch) -> Parity:
    """Return the proof that was asked for; the runner is closed if it is lost."""
    tolerance: Tolerance = QUANTISED if wishes.lite in ("dynamic", "int8") else EXACT
    try:
        if wishes.inputs is not None:
            feeds: list[Feeds] = [given(asked, wishes.inputs, "inputs")]
            parity = prove(reference, runner, feeds, tolerance)
        else:
            parity = prove_made_up(reference, runner, asked, tolerance)
    except SkerryError:
        runner.close()
        raise
    for one in parity.outputs:
        watch(f"output '{one.output}': greatest difference {one.maximum:.2e}, mean {one.mean:.2e} "
              f"over {one.values} values of {parity.inputs} inputs")  # fmt: skip
    return parity


def _imported(runtime: str, data: bytes, runner: Runner, parity: Parity, provenance: Provenance) -> Imported:
    found = Imported("onnx" if runtime == "onnx" else "litert", data, runner.inputs, runner.outputs, parity, provenance)
    runner.close()
    return found


def _loaded(data: bytes, scratch: Path) -> Runner:
    path = scratch / "converted.tflite"
    path.write_bytes(data)
    return lite.lite_runner(path)


def _tidy(data: bytes, where: str) -> bytes:
    """Return tf2onnx's file without the converter's own words; an operator that it left in place is named."""
    proto = parse_onnx(data, where)
    check_operators(proto, where)
    clean(proto, "imported")
    check_whole(proto, where)
    return proto.SerializeToString(deterministic=True)


def _digest_function(source: str, wishes: Import) -> str:
    """Return the digest of the weights: the function's code is the user's own."""
    return digest_source(wishes.weights) if wishes.weights is not None else f"code:{source}"


def _no_lite(wishes: Import, what: str) -> None:
    if wishes.lite:
        raise Invalid(f"tflite: cannot be made from {what}; give PyTorch, Keras or a SavedModel")
