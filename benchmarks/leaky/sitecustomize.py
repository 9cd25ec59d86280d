"""The soak's negative control: a node started with this folder on PYTHONPATH leaks LEAK bytes for every answer.

Python imports `sitecustomize` at its start. This one waits until the node's HTTP server is imported, and has each
answer keep a piece of memory for ever. Nothing in the product knows of it; `python -m benchmarks.soak --leaky` uses it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

LEAK = 100_000  # bytes
TARGET = "skerry.node.serve.http.exchange"
KEPT: list[bytearray] = []


class Leaking(Loader):
    """Loads the server, and then changes it."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As it is."""
        found: ModuleType | None = self._inner.create_module(spec)
        return found

    def exec_module(self, module: ModuleType) -> None:
        """Have answers leak."""
        self._inner.exec_module(module)
        answer = module.Exchange.answer

        def leaking(*given: Any, **named: Any) -> None:
            KEPT.append(bytearray(b"x" * LEAK))  # touched, or it would cost nothing
            answer(*given, **named)

        module.Exchange.answer = leaking


class Finder(MetaPathFinder):
    """Finds that one module alone."""

    def find_spec(self, name: str, path: Sequence[str] | None, _: ModuleType | None = None) -> ModuleSpec | None:
        """Return its spec with the loader above."""
        spec = PathFinder.find_spec(name, path) if name == TARGET else None
        if spec is not None and spec.loader is not None:
            spec.loader = Leaking(spec.loader)
        return spec


sys.meta_path.insert(0, Finder())
