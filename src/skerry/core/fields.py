"""Reading JSON that came from outside: each look says the field, what was expected and what came.

`parse` turns bytes into JSON values under limits; `Fields` reads one object, and what it did not
read is kept (`rest`) so that unknown fields survive a round trip.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from skerry.core.errors import Invalid, TooLarge
from skerry.core.names import shown

T = TypeVar("T")

MAX_REAL = math.nextafter(math.inf, 0.0)  # JSON may hold whole numbers that no float can
TOO_DEEP = "nested deeper than 500 lists and objects"  # Python reads up to 1,000 less its own calls; a tensor has 16
MANY_DIGITS = "a whole number of more than 4300 digits"  # as Python converts at most


def parse(data: bytes | bytearray | memoryview, what: str, limit: int) -> Any:
    """Return the JSON value in `data` (UTF-8, at most `limit` bytes); NaN and Infinity are let through.

    Raises TooLarge over the limit, Invalid for text that is not JSON, has a key twice or is nested too deep.
    """
    if len(data) > limit:
        raise TooLarge(f"{what}: expected at most {limit} bytes; got {len(data)}")
    try:
        text = bytes(data).decode("utf-8")
        value = json.loads(text, object_pairs_hook=_once)
        if "\\ud" in text or "\\uD" in text:  # nothing else can write half of a surrogate pair
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except UnicodeDecodeError as error:
        raise Invalid(f"{what}: expected UTF-8; byte {error.start} is not") from None
    except UnicodeEncodeError:
        raise Invalid(f"{what}: JSON Parse error: half of a surrogate pair is no text") from None
    except json.JSONDecodeError as error:
        raise Invalid(f"{what}: JSON Parse error: {error.msg} at offset: {error.pos}") from None
    except ValueError:
        raise Invalid(f"{what}: JSON Parse error: {MANY_DIGITS}") from None
    except RecursionError:
        raise Invalid(f"{what}: JSON Parse error: {TOO_DEEP}") from None


def canonical(value: object) -> bytes:
    """Return the one spelling of a JSON value that is hashed and signed: sorted keys, no spaces, UTF-8."""
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode("utf-8")
    except (ValueError, RecursionError) as error:  # NaN, half of a surrogate pair, nested too deep
        raise Invalid(f"canonical JSON: {error}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)  # one pass: an attacker chose the length
        raise Invalid(f"JSON object: key {shown(twice)} stands twice")
    return found


class Fields:
    """One JSON object being read; `where` is its path, for the errors."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, Mapping):
            raise Invalid(f"{where + ': ' if where else ''}expected an object; got {shown(value)}")
        self._left: dict[str, Any] = dict(value)
        self._where = where

    def path(self, key: str) -> str:
        """The full name of a field, as errors print it."""
        return f"{self._where}.{key}" if self._where else key

    def rest(self) -> dict[str, Any]:
        """The fields that nobody read."""
        return dict(self._left)

    def raw(self, key: str, default: object = ...) -> Any:
        """Return the field as it came, or `default`; with no default it must be there."""
        if key in self._left:
            return self._left.pop(key)
        if default is ...:
            raise Invalid(f"{self.path(key)}: expected this field; it is missing")
        return default

    def read(self, key: str, of: Callable[[object], T], default: object = ...) -> T:
        """Return `of(field)`; an Invalid that it raises gets the field's path in front, in place of its name."""
        value = self.raw(key, default)
        if value is default:
            return cast("T", value)
        try:
            return of(value)
        except Invalid as error:
            raise Invalid(f"{self.path(key)}: {str(error).removeprefix(f'{key}: ')}") from None

    def text(self, key: str, default: object = ..., limit: int = 4096) -> str:
        """Return a string of at most `limit` characters."""
        value = self.raw(key, default)
        if value is not default and (not isinstance(value, str) or len(value) > limit):
            raise Invalid(f"{self.path(key)}: expected a string of at most {limit} characters; got {shown(value)}")
        return cast("str", value)

    def whole(self, key: str, default: object = ..., low: int = 0, high: int = 2**63 - 1) -> int:
        """Return a whole number from `low` to `high`."""
        value = self.raw(key, default)
        if value is default:
            return cast("int", value)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise Invalid(f"{self.path(key)}: expected a whole number from {low} to {high}; got {shown(value)}")
        return value

    def real(self, key: str, default: object = ..., low: float = -math.inf, high: float = math.inf) -> float:
        """Return a finite number from `low` to `high`."""
        value = self.raw(key, default)
        if value is default:
            return cast("float", value)
        good = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_REAL
        if not good or not low <= value <= high:
            raise Invalid(f"{self.path(key)}: expected a number from {low} to {high}; got {shown(value)}")
        return float(value)

    def flag(self, key: str, default: object = ...) -> bool:
        """Return true or false."""
        value = self.raw(key, default)
        if not isinstance(value, bool) and value is not default:
            raise Invalid(f"{self.path(key)}: expected true or false; got {shown(value)}")
        return cast("bool", value)

    def choice(self, key: str, among: tuple[str, ...], default: object = ...) -> str:
        """Return one of the given words."""
        value = self.raw(key, default)
        if value is not default and value not in among:
            raise Invalid(f"{self.path(key)}: expected one of {', '.join(among)}; got {shown(value)}")
        return cast("str", value)

    def many(self, key: str, of: Callable[[object], T], default: object = ..., limit: int = 100_000) -> tuple[T, ...]:
        """Return a list of at most `limit` values, each read with `of`."""
        value = self.raw(key, default)
        if value is default:
            return cast("tuple[T, ...]", value)
        if not isinstance(value, list) or len(value) > limit:
            raise Invalid(f"{self.path(key)}: expected a list of at most {limit} items; got {shown(value)}")
        found = []
        for index, item in enumerate(value):
            try:
                found.append(of(item))
            except Invalid as error:
                raise Invalid(f"{self.path(key)}[{index}]: {error}") from None
        return tuple(found)


def string(value: object) -> str:
    """Return a string of at most 4,096 characters; for use with `Fields.many`."""
    if not isinstance(value, str) or len(value) > 4096:
        raise Invalid(f"expected a string of at most 4096 characters; got {shown(value)}")
    return value


def number(value: object) -> float:
    """Return a finite number; for use with `Fields.many` and `Fields.read`."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= MAX_REAL:
        raise Invalid(f"expected a finite number; got {shown(value)}")
    return float(value)
