"""Names that cross process boundaries: parsed once at the edge, then trusted.

A name that got past these functions is safe in a path, a URL, a log line and a metric label.
"""

from __future__ import annotations

import re
from typing import NewType

from skerry.core.errors import Invalid

ModelName = NewType("ModelName", str)
NodeName = NewType("NodeName", str)
GroupName = NewType("GroupName", str)
Digest = NewType("Digest", str)  # "sha256:" and 64 hexadecimal digits

MAX_NAME = 128  # characters; far below the 255 bytes that a file name may have
MAX_VERSION = 2**63 - 1  # TensorFlow Serving's versions are int64
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PATH_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def _name(text: object, what: str) -> str:
    if not isinstance(text, str) or len(text) > MAX_NAME or not _NAME.fullmatch(text):
        raise Invalid(
            f"{what}: expected 1 to {MAX_NAME} letters, digits, '.', '_' or '-', "
            f"beginning with a letter or digit; got {shown(text)}"
        )
    return text


def model_name(text: object) -> ModelName:
    """Return `text` as a model's name; raise Invalid if it is none."""
    return ModelName(_name(text, "model name"))


def node_name(text: object) -> NodeName:
    """Return `text` as a node's name; raise Invalid if it is none."""
    return NodeName(_name(text, "node name"))


def group_name(text: object) -> GroupName:
    """Return `text` as a group's name; raise Invalid if it is none."""
    return GroupName(_name(text, "group name"))


def version(value: object) -> int:
    """Return a model's version, a whole number of 1 or more, from a number or its decimal text."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,19}", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_VERSION:
        raise Invalid(f"version: expected a whole number from 1 to {MAX_VERSION}; got {shown(value)}")
    return value


def digest(text: object) -> Digest:
    """Return `text` as a digest, "sha256:" and 64 lower-case hexadecimal digits."""
    if not isinstance(text, str) or not _DIGEST.fullmatch(text):
        raise Invalid(f"digest: expected 'sha256:' and 64 lower-case hexadecimal digits; got {shown(text)}")
    return Digest(text)


def file_path(text: object) -> str:
    """Return `text` as a relative path inside a bundle: plain parts, '/' between them, never '..'."""
    if isinstance(text, str) and len(text) <= 2 * MAX_NAME and all(map(_PATH_PART.fullmatch, text.split("/"))):
        return text
    raise Invalid(f"file path: expected a plain relative path such as 'goldens/0.png'; got {shown(text)}")


def shown(value: object, limit: int = 60) -> str:
    """Return a value as it may stand in an error: printable, and cut after `limit` characters."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deep, or a whole number of more digits than Python will print
        text = f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= limit else text[:limit] + "…"
