"""PyTorch as a source: a checked program file, or a function that builds a module and the weights for it.

A program runs here as the reference of its parity; ONNX comes from PyTorch's own exporter, with deterministic
bytes and nothing in them that names this machine. Weights are read by the careful reader, never unpickled.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import logging
import pickle
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from onnx import ModelProto
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import ConstantArgument
from torch.utils import _pytree as pytree

from skerry.core.errors import Invalid, LoadFailed, NotFound, RunFailed, TooLarge
from skerry.core.names import shown
from skerry.engine.arrays import Array
from skerry.forge.importers.onnx_checks import check_operators
from skerry.forge.importers.onnx_source import check_whole, clean
from skerry.forge.importers.torch_checks import checked_program
from skerry.forge.importers.what import MAX_MODEL, OPSET, Import
from skerry.forge.parity import Feeds

MAX_TRACE = 600  # characters of PyTorch's error that ours carries
EXAMPLE = 2  # the size that stands for a free dimension while a module is traced: 0 and 1 would become fixed


class TorchModel:
    """One program: named inputs and outputs, and the answers that it gives."""

    def __init__(self, program: ExportedProgram, where: str) -> None:
        self.program = program
        self.where = where
        self._module = program.module(check_guards=False)
        arguments = [spec.arg for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
        self._fixed: list[tuple[bool, Any]] = [
            (isinstance(a, ConstantArgument), a.value if isinstance(a, ConstantArgument) else a.name) for a in arguments
        ]
        self.inputs = tuple(value for fixed, value in self._fixed if not fixed)
        self.outputs = _output_names(program)

    def answer(self, feeds: Feeds) -> dict[str, Array]:
        """Return every output by name; raise RunFailed if PyTorch cannot."""
        flat = [v if fixed else torch.from_numpy(np.array(feeds[v])) for fixed, v in self._fixed]
        try:
            args, kwargs = pytree.tree_unflatten(flat, self.program.call_spec.in_spec)
            with torch.no_grad():
                found = pytree.tree_leaves(self._module(*args, **kwargs))
        except Exception as error:  # boundary: a module raises what it likes
            raise RunFailed(f"{self.where}: PyTorch: {_short(error)}") from None
        arrays = [value.detach().cpu().numpy() for value in found if isinstance(value, torch.Tensor)]
        return dict(zip(self.outputs, map(np.asarray, arrays), strict=True))

    def examples(self) -> Feeds:
        """Return the inputs that the program was traced with."""
        if self.program.example_inputs is None:
            raise Invalid(f"{self.where}: the program has no example inputs; export it again with them")
        leaves = pytree.tree_leaves(self.program.example_inputs)
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        return {n: np.asarray(t.detach().cpu().numpy()) for n, t in zip(self.inputs, tensors, strict=True)}

    def single(self) -> Feeds:
        """Return the example inputs with 1 in every free dimension, or as they are if the program takes that not."""
        whole, sizes = self.examples(), self._sizes()
        small = {
            name: np.ascontiguousarray(
                array[tuple(slice(None) if isinstance(n, int) else slice(0, 1) for n in sizes[name])]
            )
            for name, array in whole.items()
        }
        try:
            self.answer(small)
        except RunFailed:
            return whole
        return small

    def _sizes(self) -> dict[str, tuple[Any, ...]]:
        """Return the shape of every input; a free dimension is no int."""
        found = {}
        for node in self.program.graph.nodes:
            if node.op == "placeholder" and node.name in self.inputs:
                found[node.name] = tuple(node.meta["val"].shape)
        return found

    @property
    def places(self) -> list[list[Any]]:
        """Each flat input: whether a tensor stands there, and the constant that stands there otherwise."""
        return [[not fixed, v if fixed else None] for fixed, v in self._fixed]

    def saved(self) -> bytes:
        """Return the program as a file for another process."""
        out = io.BytesIO()
        torch.export.save(self.program, out)
        return out.getvalue()


def read_program(path: Path) -> TorchModel:
    """Return a program from a file that was looked at first; raise what is wrong with it."""
    data = checked_program(path)
    try:
        with quiet():
            program = torch.export.load(io.BytesIO(data))
            return TorchModel(program, str(path))
    except (Invalid, LoadFailed):
        raise
    except Exception as error:  # boundary: the deserialiser raises KeyError, AssertionError and its own classes
        raise LoadFailed(f"{path}: PyTorch {torch.__version__} cannot read it: {_short(error)}") from None


def build(source: str, wishes: Import) -> TorchModel:
    """Return the program of a module that `module:function` builds; its weights come from `wishes.weights`.

    The function is the user's own code and is run. The shapes of its inputs come from `wishes`.
    """
    module_name, _, name = source.rpartition(":")
    function = getattr(_module(module_name), name, None)
    if not callable(function):
        raise NotFound(f"{source}: no function '{name}' in {module_name}")
    module = function()
    if not isinstance(module, torch.nn.Module):
        raise Invalid(f"{source}: expected a torch.nn.Module; got {type(module).__name__}")
    if wishes.weights is not None:
        module.load_state_dict(read_weights(wishes.weights, module))
    feeds, dynamic = _traced_with(wishes, source)
    try:
        with quiet():
            program = torch.export.export(module.eval(), (), feeds, dynamic_shapes=dynamic, strict=False)
            return TorchModel(program, source)
    except Exception as error:  # boundary: tracing runs the module, which raises what it likes
        raise LoadFailed(f"{source}: torch.export cannot trace it: {_short(error)}") from None


def read_weights(path: Path, module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return a state dict for a module; raise Invalid naming what is missing, strange or of another shape."""
    if not path.is_file():
        raise NotFound(f"weights: no file {path}")
    if path.stat().st_size > MAX_MODEL:
        raise TooLarge(f"weights: {path}: expected at most {MAX_MODEL} bytes")
    try:
        found = torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError:
        raise Invalid(
            f"weights: {path} holds more than tensors, and reading it could run anything; "
            f"save only the state dict: torch.save(model.state_dict(), 'weights.pt')"
        ) from None
    except Exception as error:  # boundary: the reader of outside bytes raises what it meets
        raise LoadFailed(f"weights: {path}: truncated, or no state dict: {_short(error)}") from None
    if not isinstance(found, dict) or not all(isinstance(v, torch.Tensor) for v in found.values()):
        raise Invalid(f"weights: {path}: expected a state dict of tensors; got {type(found).__name__}")
    wanted = module.state_dict()
    wrong = [f"{n} is missing" for n in wanted if n not in found] + [
        f"{n} is strange" for n in found if n not in wanted
    ]
    wrong += [
        f"{n} has shape {list(found[n].shape)}, expected {list(v.shape)}"
        for n, v in wanted.items()
        if n in found and found[n].shape != v.shape
    ]
    if wrong:
        raise Invalid(f"weights: {path} are not of this module: {'; '.join(wrong[:5])}")
    return found


def to_onnx(model: TorchModel) -> bytes:
    """Return the program as ONNX: the same program gives the same bytes."""
    size = sum(t.numel() * t.element_size() for t in model.program.state_dict.values())
    if size > MAX_MODEL:
        raise TooLarge(f"{model.where}: expected at most {MAX_MODEL} bytes of weights; got {size}")
    try:
        with quiet():
            found = torch.onnx.export(
                model.program,
                input_names=list(model.inputs),
                output_names=list(model.outputs),
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # boundary: the exporter wraps what it met in classes of its own
        raise LoadFailed(f"{model.where}: cannot be written as ONNX: {_first_cause(error)}") from None
    if found is None:
        raise LoadFailed(f"{model.where}: PyTorch's exporter gave nothing")
    proto: ModelProto = found.model_proto
    clean(proto, "imported")
    check_operators(proto, model.where)
    check_whole(proto, model.where)
    return proto.SerializeToString(deterministic=True)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence PyTorch: it warns about its own code and about torchvision, which is not used."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _module(name: str) -> ModuleType:
    """Import a module by its name, or a file of Python by its path."""
    try:
        if not name.endswith(".py"):
            if str(Path.cwd()) not in sys.path:
                sys.path.insert(0, str(Path.cwd()))  # as `python -m` does
            return importlib.import_module(name)
        path = Path(name)
        if not path.is_file():
            raise NotFound(f"{name}: no such file")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except NotFound:
        raise
    except ModuleNotFoundError as error:
        raise NotFound(f"{name}: cannot be imported: {error}") from None
    except Exception as error:  # boundary: the user's code raises what it likes
        raise LoadFailed(f"{name}: cannot be imported: {_short(error)}") from None
    return module


def _traced_with(wishes: Import, source: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the inputs that a module is traced with, and which of their dimensions are free."""
    shapes = dict(wishes.shapes)
    arrays = dict(wishes.inputs or {})
    if not shapes and not arrays:
        raise Invalid(f"{source}: a module says not what it takes; give inputs, or shapes such as image=-1,3,224,224")
    feeds, dynamic, batch = {}, {}, Dim("batch")
    for name in dict.fromkeys((*arrays, *shapes)):
        shape = shapes.get(name, arrays[name].shape if name in arrays else ())
        if name in arrays:
            feeds[name] = torch.from_numpy(np.array(arrays[name]))
        else:
            feeds[name] = torch.zeros([EXAMPLE if n < 0 else n for n in shape])
        dynamic[name] = {p: batch if p == 0 else Dim.DYNAMIC for p, n in enumerate(shape) if n < 0} or None
    return feeds, dynamic


def _output_names(program: ExportedProgram) -> tuple[str, ...]:
    """Return names of the outputs: a dict's keys, else output, or output_0, output_1 and on."""
    count = len([spec for spec in program.graph_signature.output_specs if spec.kind.name == "USER_OUTPUT"
                 and not isinstance(spec.arg, ConstantArgument)])  # fmt: skip
    tree = program.call_spec.out_spec
    if tree is not None and tree.type is dict and tree.num_leaves == tree.num_children == count:
        names = [re.sub(r"\W", "_", str(key)) for key in tree.context]
        if len(set(names)) == count:
            return tuple(names)
    return ("output",) if count == 1 else tuple(f"output_{n}" for n in range(count))


def _first_cause(error: BaseException) -> str:
    """Return the text of what began it: PyTorch's exporter tells of itself first."""
    while error.__cause__ is not None:
        error = error.__cause__
    return _short(error)


def _short(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return shown(f"{type(error).__name__}: {' '.join(lines)}", MAX_TRACE)


def version() -> str:
    """Return PyTorch's version."""
    return str(torch.__version__)
