"""Hold the repository to its shape: who may import whom, and how big things may grow.

Standard library only. Run `python tests/shape_check.py src/skerry`, or call `breaches()` from a test.
ALLOW holds the agreed exceptions, each with a reason; an entry that no longer matches is
itself a breach, so the list can only shrink. Complexity, late imports of libraries and types are
left to ruff (C901, PLC0415) and mypy, which know them better.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

# A part may import itself and the parts named here. Nothing else.
MAY_IMPORT: dict[str, set[str]] = {
    "core": set(),
    "wire": {"core"},
    "host": {"core"},
    "engine": {"core", "wire", "host"},
    "link": {"core", "wire", "host"},
    "device": {"core", "wire", "host", "link"},
    "node": {"core", "wire", "host", "link", "engine"},
    "hub": {"core", "wire", "host", "link"},
    "forge": {"core", "wire", "host", "engine"},
    "cluster": {"core", "wire", "host", "link"},
    "cli": {"core", "wire", "host", "engine", "link", "device", "node", "hub", "forge", "cluster"},
    "__init__": {"core", "wire", "device"},  # skerry/__init__.py: the device SDK's public names
    "__main__": {"cli"},
}

# A library may be imported only below the places named here. A second home needs a decision page.
ONLY_IN: dict[str, tuple[str, ...]] = {
    "PIL": ("engine/steps/", "forge/"),
    "aioquic": ("link/",),
    "ai_edge_litert": ("engine/runners/", "forge/importers/children/"),
    "ai_edge_quantizer": ("forge/importers/children/",),
    "alembic": ("hub/store/",),
    "cryptography": ("host/ed25519.py",),
    "flatbuffers": (),
    "grpc": ("node/serve/", "cluster/"),
    "keras": ("forge/importers/children/",),
    "litert_torch": ("forge/importers/children/",),
    "tensorflow": ("forge/importers/children/",),
    "tf2onnx": ("forge/importers/children/",),
    "jinja2": ("hub/console/",),
    "httptools": ("node/serve/",),
    "msgspec": ("wire/", "node/worker/"),
    "numpy": ("engine/", "forge/", "wire/", "node/worker/"),
    "obstore": ("host/blobs.py",),
    "onnx": ("forge/",),
    "onnxruntime": ("engine/runners/", "forge/optimise/coverage.py"),
    "onnxscript": ("forge/",),
    "openvino": ("engine/runners/",),
    "orjson": ("wire/",),
    "prometheus_client": ("node/metrics/",),
    "python_multipart": ("node/worker/", "hub/"),
    "rich": ("cli/", "forge/"),
    "simdjson": ("wire/",),
    "simplejpeg": ("engine/steps/",),
    "sqlalchemy": ("hub/store/",),
    "sqlite3": ("node/record/journal.py",),
    "starlette": ("hub/api/", "hub/console/", "hub/app.py"),
    "tomllib": ("host/settings.py",),
    "torch": ("forge/",),
    "tuf": ("host/",),
    "typer": ("cli/",),
    "urllib3": ("link/",),
    "uvicorn": ("hub/api/", "hub/console/", "hub/app.py"),
    "uvloop": ("node/app.py",),
}

PURE = {"core", "wire"}  # no clock, disk, network, threads, environment, randomness, logging
IMPURE = {
    "asyncio", "concurrent", "ctypes", "datetime", "io", "logging", "mmap", "multiprocessing", "os", "pathlib",
    "platform", "queue", "random", "secrets", "select", "selectors", "shutil", "signal", "socket", "sqlite3",
    "ssl", "subprocess", "tempfile", "threading", "time", "urllib", "uuid", "zoneinfo",
}  # fmt: skip
PURE_ELSEWHERE = {"google", "grpc", "msgspec", "numpy", "orjson", "simdjson"}  # bytes in, values out; see decision 0012
IMPURE_CALLS = {"open", "print", "input", "breakpoint", "__import__", "exec", "eval"}
PURE_IN_IMPURE = {"urllib.parse"}  # text in, text out

ENVIRONMENT = {f"os.{name}" for name in ("environ", "environb", "getenv", "getenvb", "putenv", "unsetenv")}
ENVIRONMENT_HOME = "host/settings.py"

BODY, FILE, PARAMETERS, FOLDER = 60, 600, 7, 14
_OPTIONS = "a command has a parameter for each of its options"
ALLOW: dict[str, str] = {  # "rule where" -> reason
    "too-many-parameters cli/bundle.py:init": _OPTIONS,
    "too-many-parameters cli/hub.py:rollout": _OPTIONS,
    "too-many-parameters cli/node.py:node": _OPTIONS,
    "too-many-parameters cli/node.py:serve": _OPTIONS,
    "too-many-parameters cli/forging/images.py:images": _OPTIONS,
    "too-many-parameters cli/forging/recipes.py:tabular": _OPTIONS,
    "too-many-parameters cli/shrink.py:bring_in": _OPTIONS,
    "too-many-parameters cli/shrink.py:optimise": _OPTIONS,
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def body_lines(function: Function) -> int:
    """Count the lines of a body, without the signature and the docstring."""
    body = function.body[1:] if ast.get_docstring(function, clean=False) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def imports(tree: ast.AST) -> Iterator[tuple[str, ast.stmt]]:
    """Yield every imported module, and every imported name as if it were one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((f"{'.' * node.level}{node.module or ''}.{alias.name}", node) for alias in node.names)


def of_imports(name: str, tree: ast.AST, package: str) -> Iterator[str]:
    """Yield breaches of the layering rules."""
    part = name.split("/", maxsplit=1)[0].removesuffix(".py")
    late = {id(x) for f in ast.walk(tree) if isinstance(f, Function) for x in ast.walk(f)}
    for module, node in imports(tree):
        head, _, rest = module.partition(".")
        if module.startswith("."):
            yield f"relative-import {name}:{node.lineno}"
        elif head == package:
            if rest.split(".")[0] not in MAY_IMPORT.get(part, set()) | {part}:
                yield f"layer {name} imports {module}"
            if id(node) in late and part != "cli":
                yield f"late-import {name} imports {module}"
        else:
            yield from of_library(name, part, module, head)


def of_library(name: str, part: str, module: str, head: str) -> Iterator[str]:
    """Yield breaches by one import of something that is not ours."""
    if head in ONLY_IN and not name.startswith(ONLY_IN[head]):
        yield f"wrong-home {name} imports {head}"
    if part in PURE and not any(module.startswith(pure) for pure in PURE_IN_IMPURE):
        ours = part == "wire" and head in PURE_ELSEWHERE
        if (head in IMPURE or head not in sys.stdlib_module_names) and not ours:
            yield f"impure {name} imports {head}"
    if module in ENVIRONMENT and name != ENVIRONMENT_HOME:
        yield f"environment {name} imports {module}"


def of_file(name: str, text: str, tree: ast.Module) -> Iterator[str]:
    """Yield breaches of the rules about a file as a whole."""
    lines = text.count("\n")
    if lines > FILE:
        yield f"file-too-long {name} {lines}"
    if re.search(r"(^|/)_?(utils?|helpers?|common|misc|managers?|base|handlers?)\.py$", name):
        yield f"grab-bag {name}"
    if tree.body and not ast.get_docstring(tree):
        yield f"no-law {name} has code, and no docstring that says what lives here"


def of_code(name: str, text: str, tree: ast.AST) -> Iterator[str]:
    """Yield breaches of the size and habit rules."""
    lines = text.splitlines()
    for node in ast.walk(tree):
        if isinstance(node, Function):
            yield from of_function(name, node)
        elif isinstance(node, ast.ExceptHandler):
            if (node.type is None or wide(node.type)) and "# boundary:" not in lines[node.lineno - 1]:
                yield f"wide-except {name}:{node.lineno}"
        elif isinstance(node, ast.Call):
            if ast.unparse(node.func).endswith("suppress") and any(map(wide, node.args)):
                yield f"wide-except {name}:{node.lineno}"
            if name.split("/", maxsplit=1)[0] in PURE and ast.unparse(node.func) in IMPURE_CALLS:
                yield f"impure {name}:{node.lineno} calls {ast.unparse(node.func)}"
        elif isinstance(node, ast.Global):
            yield f"global {name}:{node.lineno}"
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in ENVIRONMENT and name != ENVIRONMENT_HOME:
            yield f"environment {name}:{node.lineno}"


def of_function(name: str, function: Function) -> Iterator[str]:
    """Yield breaches of the rules about a function's size."""
    given = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
    count = len([a for a in given if a.arg not in ("self", "cls")])
    if body_lines(function) > BODY:
        yield f"function-too-long {name}:{function.name} {body_lines(function)}"
    if count > PARAMETERS:
        yield f"too-many-parameters {name}:{function.name} {count}"


def wide(kind: ast.expr) -> bool:
    """Whether an expression names every exception."""
    return any(isinstance(n, ast.Name) and n.id in ("Exception", "BaseException") for n in ast.walk(kind))


def of_graph(trees: Mapping[str, ast.AST]) -> Iterator[str]:
    """Yield a cycle of imports if there is one; `trees` is keyed by the modules' dotted names."""
    graph = {}
    for me, tree in trees.items():
        near = {full if full in trees else full.rpartition(".")[0] for full, _ in imports(tree)}
        graph[me] = (near & set(trees)) - {me}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield "cycle " + " -> ".join(error.args[1])


def breaches(root: Path, allow: Mapping[str, str] = ALLOW) -> list[str]:
    """Return one line per breach: rule, place, detail."""
    found: list[str] = []
    trees: dict[str, ast.AST] = {}
    for path in sorted(root.rglob("*.py")):
        name, text = path.relative_to(root).as_posix(), path.read_text()
        tree = ast.parse(text)
        found += [*of_imports(name, tree, root.name), *of_file(name, text, tree), *of_code(name, text, tree)]
        trees[".".join((root.name, *path.relative_to(root).with_suffix("").parts)).removesuffix(".__init__")] = tree
    for folder in sorted({p.parent for p in root.rglob("*.py")}):
        count = len([p for p in folder.glob("*.py") if p.name != "__init__.py"])
        if count > FOLDER:
            found.append(f"folder-too-wide {folder.relative_to(root).as_posix()} {count}")
    found += of_graph(trees)
    keys = {key(line) for line in found}
    stale = [f"stale-allowance {one}" for one in allow if one not in keys]
    return [line for line in found if key(line) not in allow] + stale


def key(line: str) -> str:
    """Return the rule and the place of a breach, which is what ALLOW names."""
    return " ".join(line.split()[:2])


def patches(tests: Iterable[Path], package: str) -> list[str]:
    """Return one line for each place in test files that patches our own code."""
    found = []
    for path in tests:
        tree = ast.parse(path.read_text())
        ours = {package} | {
            (alias.asname or alias.name).partition(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
            if (getattr(node, "module", None) or alias.name).split(".")[0] == package
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and node.args and patching(ast.unparse(node.func)):
                target = node.args[0].value if isinstance(node.args[0], ast.Constant) else ast.unparse(node.args[0])
                if re.split(r"\W", str(target))[0] in ours:
                    found.append(f"patch {path.name}:{node.lineno} of {target}")
    return found


def patching(function: str) -> bool:
    """Whether a function of that name replaces something in place."""
    return bool(
        re.search(
            r"(^|\.)(monkeypatch|mp|mocker)\.(setattr|delattr)$|(^|\.)patch(\.(object|dict|multiple))?$", function
        )
    )


if __name__ == "__main__":
    result = breaches(Path(sys.argv[1]))
    print(*result, f"{len(result)} breaches", sep="\n")
    sys.exit(bool(result))
