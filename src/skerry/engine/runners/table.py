"""Which runtime is which module, and how one is opened: the only place that imports a runtime, when it is needed.

A node without a runtime's library works; a bundle that needs it is LoadFailed and says what to install.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from skerry.core.errors import Invalid, LoadFailed
from skerry.engine.known import LIBRARIES, runtimes
from skerry.engine.runners.runner import PLAIN, Load, Runner, Threads, Wish

RUNNERS = {  # runtime -> where its Load is
    "litert": "skerry.engine.runners.litert:LiteRunner",
    "onnx": "skerry.engine.runners.onnx:OnnxRunner",
    "openvino": "skerry.engine.runners.openvino:OpenvinoRunner",
}
EXTRAS = {"onnx": "node"}  # the extra of our package that installs it, where it is not the runtime's name


def load(name: str) -> Load:
    """Import a runtime and return how it opens a file; raise LoadFailed if this node cannot do it."""
    if name not in RUNNERS:
        raise LoadFailed(f"unknown runtime '{name}'; this node can do: {', '.join(runtimes())}")
    module, _, attribute = RUNNERS[name].partition(":")
    try:
        found: Load = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name != LIBRARIES[name]:
            raise LoadFailed(f"runtime {name}: its library is there, but not all that it needs: {error}") from error
        extra = EXTRAS.get(name, name)
        raise LoadFailed(f"runtime {name}: not installed here; pip install 'skerry[{extra}]'") from None
    except (ImportError, OSError) as error:  # a library for another machine or C library
        raise LoadFailed(f"runtime {name}: cannot be loaded here: {error}") from error
    return found


def open_runner(name: str, path: Path, threads: Threads, wish: Wish = PLAIN) -> Runner:
    """Return a runner of a model file; raise LoadFailed if the runtime, the options or the file cannot be."""
    opening = load(name)
    try:
        return opening(path, threads, wish)
    except Invalid as error:  # an option that is wrong
        raise LoadFailed(str(error)) from error
