"""Reading one block of a config.pbtxt: each look says the line, the field, what was expected and what came.

What nobody read is not let through: `end` refuses it by name, with the reason where one is known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeVar

from skerry.core.errors import Invalid
from skerry.core.names import shown
from skerry.core.tensor import DType, dtype
from skerry.wire.config.text import Block, Field, Kind, Leaf, wrong

T = TypeVar("T", Leaf, Block)

MAX_VALUES = 10_000  # of one field
INT32, INT64, UINT32, UINT64 = 2**31 - 1, 2**63 - 1, 2**32 - 1, 2**64 - 1
_TRUE, _FALSE = ("true", "True", "t", "1"), ("false", "False", "f", "0")


class Message:
    """One block; `path` is its place, for the errors."""

    def __init__(self, block: Block, path: str = "", ignored: list[str] | None = None) -> None:
        self.ignored: list[str] = [] if ignored is None else ignored  # of the whole file
        self._path = path
        self._line = block.line
        self._left: dict[str, list[Field]] = {}
        for one in block.fields:
            self._left.setdefault(one.name, []).append(one)
        self._lines = {name: fields[0].line for name, fields in self._left.items()}

    def has(self, name: str) -> bool:
        """Whether the field was written, even if it holds nothing."""
        return name in self._lines

    def error(self, name: str, text: str) -> Invalid:
        """Return the error about a field, with its line."""
        return wrong(self._lines.get(name, self._line), f"{self._full(name)}: {text}")

    def end(self, refused: Mapping[str, str]) -> None:
        """Raise Invalid for the first field that nobody read; `refused` holds the reasons that are known."""
        for name, fields in self._left.items():
            why = refused.get(name)
            if why and not any(one.values for one in fields):
                continue  # a list of nothing asks for nothing
            text = f"field '{self._full(name)}' is not supported by this node: {why}"
            raise wrong(fields[0].line, text if why else f"unknown field '{self._full(name)}'")

    def ignore(self, name: str, why: str) -> None:
        """Note that a field changes nothing here."""
        self.ignored.append(f"{self._full(name)}: {why}")

    def text(self, name: str, limit: int = 4096) -> str:
        """Return a string, empty if it is not there."""
        leaf = self._leaf(name)
        if leaf is None:
            return ""
        if leaf.kind is not Kind.STRING or len(leaf.text) > limit:
            raise self._bad(name, leaf, f"a string of at most {limit} characters")
        return leaf.text

    def word(self, name: str, among: tuple[str, ...], default: str = "") -> str:
        """Return one of the given words."""
        leaf = self._leaf(name)
        if leaf is None:
            return default
        if leaf.kind is not Kind.WORD or leaf.text not in among:
            raise self._bad(name, leaf, f"one of {', '.join(among)}")
        return leaf.text

    def flag(self, name: str) -> bool:
        """Return true or false, false if it is not there."""
        leaf = self._leaf(name)
        return leaf is not None and self._flag(name, leaf)

    def flags(self, name: str) -> tuple[bool, ...]:
        """Return every value of a field of true and false."""
        return tuple(self._flag(name, leaf) for leaf in self._leaves(name))

    def whole(self, name: str, low: int, high: int, default: int = 0) -> int:
        """Return a whole number from `low` to `high`, or `default`."""
        leaf = self._leaf(name)
        return default if leaf is None else self._whole(name, leaf, low, high)

    def wholes(self, name: str, low: int, high: int) -> tuple[int, ...]:
        """Return every value of a field of whole numbers."""
        return tuple(self._whole(name, leaf, low, high) for leaf in self._leaves(name))

    def reals(self, name: str) -> tuple[float, ...]:
        """Return every value of a field of finite numbers."""
        return tuple(self._real(name, leaf) for leaf in self._leaves(name))

    def dtype(self, name: str) -> DType:
        """Return an element type, such as TYPE_FP32; it must be there."""
        leaf = self._leaf(name)
        if leaf is None:
            raise self.error(name, "expected this field; it is missing")
        try:
            if leaf.kind is not Kind.WORD or not leaf.text.startswith("TYPE_"):
                raise Invalid(f"expected a type such as TYPE_FP32; got {shown(leaf.text)}")
            return dtype("BYTES" if leaf.text == "TYPE_STRING" else leaf.text.removeprefix("TYPE_"))
        except Invalid as error:
            raise wrong(leaf.line, f"{self._full(name)}: {error}") from None

    def one(self, name: str) -> Message | None:
        """Return a block, or None if it is not there."""
        found = self.many(name)
        if len(found) > 1:
            raise self._twice(name)
        return found[0] if found else None

    def many(self, name: str) -> list[Message]:
        """Return every block of a field."""
        path = self._full(name)
        return [Message(block, path, self.ignored) for block in self._values(name, Block, "a block { … }")]

    def _full(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def _twice(self, name: str) -> Invalid:
        return self.error(name, "expected it once; it stands there twice")

    def _bad(self, name: str, leaf: Leaf, expected: str) -> Invalid:
        return wrong(leaf.line, f"{self._full(name)}: expected {expected}; got {shown(leaf.text)}")

    def _leaf(self, name: str) -> Leaf | None:
        leaves = self._leaves(name)
        if len(leaves) > 1:
            raise self._twice(name)
        return leaves[0] if leaves else None

    def _leaves(self, name: str) -> list[Leaf]:
        return self._values(name, Leaf, "a value")

    def _values(self, name: str, kind: type[T], expected: str) -> list[T]:
        found: list[T] = []
        for one in self._left.pop(name, []):
            for value in one.values:
                if not isinstance(value, kind):
                    raise wrong(value.line, f"{self._full(name)}: expected {expected}")
                found.append(value)
        if len(found) > MAX_VALUES:
            raise self.error(name, f"expected at most {MAX_VALUES} values; got {len(found)}")
        return found

    def _flag(self, name: str, leaf: Leaf) -> bool:
        if leaf.kind is Kind.STRING or leaf.text not in _TRUE + _FALSE:
            raise self._bad(name, leaf, "true or false")
        return leaf.text in _TRUE

    def _whole(self, name: str, leaf: Leaf, low: int, high: int) -> int:
        value = _integer(leaf.text) if leaf.kind is Kind.NUMBER else None
        if value is None or not low <= value <= high:
            raise self._bad(name, leaf, f"a whole number from {low} to {high}")
        return value

    def _real(self, name: str, leaf: Leaf) -> float:
        whole = _integer(leaf.text) if leaf.kind is Kind.NUMBER else None
        try:
            value = float(leaf.text.rstrip("fF")) if whole is None else float(whole)
        except (ValueError, OverflowError):
            value = math.nan
        if leaf.kind is not Kind.NUMBER or not math.isfinite(value):
            raise self._bad(name, leaf, "a finite number")
        return value


def _integer(text: str) -> int | None:
    """Return the whole number that is written in decimal, octal (a leading 0) or hexadecimal (0x), or None."""
    digits = text.removeprefix("-")
    if len(digits) > 40:  # 64 bits need 22 in octal
        return None
    octal = len(digits) > 1 and digits[0] == "0" and digits.isdecimal()
    try:
        return int(text, 8 if octal else 0)
    except ValueError:
        return None
