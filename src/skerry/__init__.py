"""Skerry's device SDK: what a camera, a handheld or a script imports to ask a node."""

from skerry.core.errors import SkerryError
from skerry.core.finding import Finding
from skerry.core.version import VERSION as __version__  # noqa: N811 (the name that packages give it)
from skerry.device.client import Client
from skerry.wire.answer import Answer

__all__ = ["Answer", "Client", "Finding", "SkerryError", "__version__"]
