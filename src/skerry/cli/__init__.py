"""The command line: parse, call one function of a part, print. Parts are imported inside functions only,

so that `skerry --help` is quick and a device needs no server's libraries.
"""

from __future__ import annotations

from skerry.cli.app import main

__all__ = ["main"]
