"""Skerry's device SDK: what a camera, a handheld or a script imports to ask a node."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from skerry.core.version import VERSION as __version__  # noqa: N811 (the name that packages give it)

if TYPE_CHECKING:
    from skerry.core.errors import SkerryError
    from skerry.core.finding import Finding
    from skerry.device.client import Client
    from skerry.wire.answer import Answer

__all__ = ["Answer", "Client", "Finding", "SkerryError", "__version__"]

# Loaded when they are first asked for: every command and every worker imports this package, few ask a node.
_HOMES = {
    "Answer": "skerry.wire.answer",
    "Client": "skerry.device.client",
    "Finding": "skerry.core.finding",
    "SkerryError": "skerry.core.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'skerry' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
