"""What a torch.export program file may hold before PyTorch reads it.

`torch.export.load` (2.13) is not safe by itself: it unpickles weights and constants that say `use_pickle`, custom
objects, and example inputs if the careful reader refuses them; gives strings of sizes to sympy, which evaluates them;
calls whatever `torch.…` name stands as an operator; imports modules that a tree of inputs names; loads compiled
libraries of AOTInductor. So every one of these is looked at here, and PyTorch gets an archive that is written anew
from what passed: what this file read is what PyTorch will read.
"""

from __future__ import annotations

import io
import json
import math
import pickle
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from skerry.core.errors import Invalid, LoadFailed
from skerry.core.fields import parse
from skerry.core.names import shown
from skerry.forge.importers.scan import entry, open_zip
from skerry.forge.importers.torch_sizes import harmless
from skerry.forge.importers.what import MAX_MODEL

MAX_GRAPH = 256 << 20  # bytes of the graph's JSON; 1,000 operators take about 1 MB
MAX_CONFIG = 64 << 20  # bytes of the list of weights
TOP = "program"  # the archive's inner folder; any name will do
MODEL = "models/model.json"
PAYLOADS = {"data/weights/": "data/weights/model_weights_config.json",
            "data/constants/": "data/constants/model_constants_config.json"}  # fmt: skip
SAMPLES = "data/sample_inputs/model.pt"
# Operators that only compute. Of higher order: control flow, whose bodies are checked like everything else.
OPERATOR = re.compile(
    r"torch\.ops\.(aten|prims|quantized_decomposed)\.[a-zA-Z_]\w*\.[a-zA-Z_]\w*"
    r"|torch\.ops\.higher_order\.(cond|while_loop|scan|associative_scan|map_impl|wrap_with_set_grad_enabled|"
    r"wrap_with_autocast)"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|neg|pos|pow|lt|le|gt|ge|eq|ne|and_|or_|not_|getitem|index)"
    r"|math\.(ceil|floor|trunc|sqrt)|torch\.(sym_(int|float|max|min|not|sum|sqrt|ite)|_sym_sqrt)"
)
FORBIDDEN = {"from_file", "_debug", "save", "load"}  # of aten: what touches a disk
TREES = ("builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict", None)
DTYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 2, 7: 4, 8: 8, 12: 1, 13: 2}  # torch's serialised ScalarType -> bytes


def checked_program(path: Path) -> bytes:
    """Return a program archive with nothing in it that could run; raise Invalid, LoadFailed or TooLarge."""
    where = str(path)
    with path.open("rb") as file, open_zip(file, where) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        top = names[0].split("/", 1)[0] + "/"
        inner = {name.removeprefix(top) for name in names}
        _expect(MODEL in inner, where, f"expected {MODEL} in it")
        _expect(not any(name.startswith("data/aotinductor/") for name in inner), where, "it holds compiled code")
        others = [n for n in inner if n.startswith("models/") and n != MODEL]
        _expect(not others, where, f"it holds several models: {', '.join(sorted(others))[:200]}")
        found = {
            "archive_format": b"pt2",
            "archive_version": entry(archive, top + "archive_version", 16, where),
            "byteorder": entry(archive, top + "byteorder", 16, where),
            MODEL: _graph(entry(archive, top + MODEL, MAX_GRAPH, where), where),
            SAMPLES: _samples(entry(archive, top + SAMPLES, MAX_MODEL, where), where),
        }
        _expect(found["byteorder"] == b"little", where, "expected little-endian weights")
        for folder, config in PAYLOADS.items():
            data = entry(archive, top + config, MAX_CONFIG, where)
            found[config] = data
            for name, least in _payloads(data, folder, where):
                found[folder + name] = entry(archive, f"{top}{folder}{name}", MAX_MODEL, where)
                _expect(len(found[folder + name]) >= least, where, f"{shown(name)} is too short: {least} bytes needed")
    return _packed(found)


def _packed(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(f"{TOP}/{name}", (1980, 1, 1, 0, 0, 0)), data)
        archive.writestr(zipfile.ZipInfo(f"{TOP}/.data/version", (1980, 1, 1, 0, 0, 0)), b"6\n")
    return out.getvalue()


def _payloads(data: bytes, folder: str, where: str) -> Iterator[tuple[str, int]]:
    """Yield each file of weights and the bytes it must have; raise Invalid for one that would be unpickled."""
    config = _json(data, MAX_CONFIG, f"{where}: {folder}").get("config")
    _expect(isinstance(config, dict), where, f"{folder}: expected a list of tensors")
    least: dict[str, int] = {}
    for name, said in dict(config or {}).items():
        _expect(isinstance(said, dict), where, f"{folder}{shown(name)}: expected a tensor")
        file = said.get("path_name")
        _expect(isinstance(file, str) and re.fullmatch(r"(weight|tensor)_\d{1,9}", file) is not None, where,
                f"{shown(name)} is no plain tensor but {shown(file)}")  # fmt: skip
        if said.get("use_pickle") is not False:
            raise Invalid(f"{where}: {shown(name)} is pickled, which could run anything when it is read; save the "
                          f"program with dense CPU tensors")  # fmt: skip
        least[file] = max(least.get(file, 0), _extent(said.get("tensor_meta"), f"{where}: {shown(name)}"))
    yield from least.items()


def _extent(meta: Any, where: str) -> int:
    """Return the bytes that a strided view reaches to; raise LoadFailed unless every number is honest."""
    try:
        kind = meta["dtype"]
        sizes, strides = [s["as_int"] for s in meta["sizes"]], [s["as_int"] for s in meta["strides"]]
        offset, device = meta["storage_offset"]["as_int"], meta["device"]["type"]
    except (KeyError, TypeError):
        raise LoadFailed(f"{where}: expected sizes, strides and a type") from None
    numbers = [*sizes, *strides, offset]
    honest = (
        isinstance(kind, int)
        and all(isinstance(n, int) and 0 <= n <= MAX_MODEL for n in numbers)
        and len(sizes) == len(strides)
    )
    if not honest or device != "cpu" or kind not in DTYPE_SIZES or math.prod(sizes) > MAX_MODEL:
        raise LoadFailed(f"{where}: expected a dense CPU tensor with honest sizes")
    if 0 in sizes:
        return 0
    return int((offset + sum((n - 1) * s for n, s in zip(sizes, strides, strict=True)) + 1) * DTYPE_SIZES[kind])


def _samples(data: bytes, where: str) -> bytes:
    """Return the example inputs if the careful reader takes them; it knows tensors and containers only."""
    try:
        found = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, TypeError, OSError) as error:
        raise Invalid(f"{where}: its example inputs are not plain tensors: {str(error)[:200]}") from None
    except Exception as error:  # boundary: the reader of outside bytes raises what it meets
        raise LoadFailed(f"{where}: its example inputs are broken: {str(error)[:200]}") from None
    _expect(isinstance(found, tuple), where, "expected its example inputs as a pair")
    return data


def _graph(data: bytes, where: str) -> bytes:
    """Return the graph's JSON without what says how it was made and what PyTorch would evaluate."""
    graph = _json(data, MAX_GRAPH, f"{where}: {MODEL}")
    _expect("graph_module" in graph, where, "expected a graph in it")
    graph["guards_code"] = []
    strange: dict[str, None] = {}
    waiting: list[Any] = [graph]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += one
        elif isinstance(one, dict):
            _look(one, where, strange)
            waiting += one.values()
    if strange:
        raise LoadFailed(f"{where}: operators that cannot be brought in: {'; '.join(list(strange)[:8])}")
    return json.dumps(graph).encode()


def _look(one: dict[str, Any], where: str, strange: dict[str, None]) -> None:
    """Check one object of the graph, and take out what says only how it was made."""
    for key in ("metadata", "treespec_namedtuple_fields"):
        if isinstance(one.get(key), dict):
            one[key] = {}
    for key in ("target", "as_operator"):
        name = one.get(key)
        if key in one and isinstance(name, str) and ("inputs" in one or key == "as_operator"):
            parts = name.split(".")
            if not OPERATOR.fullmatch(name) or parts[-2] in FORBIDDEN:
                strange[shown(name)] = None
    if "expr_str" in one:
        _expect(harmless(one["expr_str"]), where, f"a size that is no plain expression: {shown(one['expr_str'])}")
    for key in ("in_spec", "out_spec"):
        if key in one:
            _expect(isinstance(one[key], str) and _plain_tree(one[key]), where, f"{key} is no tree of plain containers")
    for key in ("as_custom_obj", "custom_obj", "as_opaque"):
        if one.get(key) not in (None, {}, ""):
            strange["an object of a class of its own"] = None


def _plain_tree(text: str) -> bool:
    try:
        tree = parse(text.encode(), "tree", 1 << 20)
    except (Invalid, UnicodeEncodeError):
        return False
    if not isinstance(tree, list) or len(tree) != 2:
        return False
    waiting = [tree[1]]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, dict) or one.get("type") not in TREES or not isinstance(one.get("children_spec"), list):
            return False
        waiting += one["children_spec"]
    return True


def _json(data: bytes, limit: int, where: str) -> dict[str, Any]:
    try:
        found = parse(data, where, limit)
    except Invalid as error:
        raise LoadFailed(str(error)) from None
    _expect(isinstance(found, dict), where, "expected an object")
    return dict(found)


def _expect(holds: bool, where: str, what: str) -> None:
    if not holds:
        raise LoadFailed(f"{where}: {what}")
