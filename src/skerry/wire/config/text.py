"""The text format of Protocol Buffers, read into a tree that knows its lines. No schema lives here.

    name: "simple"  max_batch_size: 8
    input [ { name: "x" dims: [ 3, -1 ] } ]      # a list is the field given once for each of its values

A tree has fields, a field has values, a value is a leaf (a string, a number or a bare word) or a block of fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from skerry.core.errors import Invalid, TooLarge
from skerry.core.names import shown

FILE = "config.pbtxt"
MAX_TEXT = 256 << 10  # bytes; the longest configuration in use is under 20 KiB
MAX_DEPTH = 16  # blocks inside blocks; the format's own messages need 7

_STRING = r'"[^"\\\n]*(?:\\.[^"\\\n]*)*"' + "|" + r"'[^'\\\n]*(?:\\.[^'\\\n]*)*'"
_NUMBER = r"(?:0[xX][0-9a-fA-F]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[fF]?)(?![A-Za-z0-9_.])"
_TOKEN = re.compile(
    rf"(?P<space>[ \t\r\n\f\v]+|\#[^\n]*)|(?P<string>{_STRING})|(?P<number>{_NUMBER})"
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_]*)|(?P<mark>[{}\[\]<>:;,-])"
)
_ESCAPE = re.compile(r"\\([0-7]{1,3}|[xX][0-9a-fA-F]{1,2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)")
_ESCAPES = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "?": 63, "\\": 92, "'": 39, '"': 34}
_CLOSES = {"{": "}", "<": ">"}


class Kind(Enum):
    """What a leaf was written as."""

    STRING = "a string"
    NUMBER = "a number"
    WORD = "a word"


@dataclass(frozen=True)
class Leaf:
    """One scalar: the string without its quotes and escapes, or the number or word as it was written."""

    kind: Kind
    text: str
    line: int


@dataclass(frozen=True)
class Block:
    """The fields between two braces, or of the whole file."""

    fields: tuple[Field, ...]
    line: int


@dataclass(frozen=True)
class Field:
    """One field as it was written: a name and its values, none for an empty list."""

    name: str
    values: tuple[Leaf | Block, ...]
    line: int


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


def read_text(data: bytes) -> Block:
    """Return the tree in a file's bytes; raise TooLarge over the limit, Invalid with the line for what is no tree."""
    if len(data) > MAX_TEXT:
        raise TooLarge(f"{FILE}: expected at most {MAX_TEXT} bytes; got {len(data)}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise wrong(data.count(b"\n", 0, error.start) + 1, f"expected UTF-8; byte {error.start} is not") from None
    return _Parser(text).file()


def wrong(line: int, text: str) -> Invalid:
    """Return the error for a line of the file."""
    return Invalid(f"{FILE}:{line}: {text}")


def _tokens(text: str) -> Iterator[_Token]:
    place, line = 0, 1
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise wrong(line, f"expected a field or a value; got {shown(text[place : place + 20])}")
        if match.lastgroup != "space":
            yield _Token(str(match.lastgroup), match.group(), line)
        line += match.group().count("\n")
        place = match.end()
    while True:
        yield _Token("end", "the end of the file", line)


class _Parser:
    """A recursive descent with one token in hand."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._now = next(self._tokens)

    def file(self) -> Block:
        """Read the whole file."""
        return self._block("the end of the file", 0)

    def _next(self) -> _Token:
        token, self._now = self._now, next(self._tokens)
        return token

    def _took(self, *texts: str) -> bool:
        """Step over the token in hand if it is one of these marks."""
        if self._now.kind == "mark" and self._now.text in texts:
            self._next()
            return True
        return False

    def _got(self, expected: str) -> Invalid:
        return wrong(self._now.line, f"expected {expected}; got {shown(self._now.text)}")

    def _block(self, close: str, depth: int) -> Block:
        line, fields = self._now.line, []
        if depth > MAX_DEPTH:
            raise wrong(line, f"expected at most {MAX_DEPTH} blocks inside each other")
        while self._now.text != close or self._now.kind not in ("mark", "end"):
            fields.append(self._field(close, depth))
            self._took(",", ";")
        self._next()
        return Block(tuple(fields), line)

    def _field(self, close: str, depth: int) -> Field:
        if self._now.kind != "word":
            raise self._got(f"a field's name or {shown(close)}")
        name = self._next()
        colon = self._took(":")
        if not self._took("["):
            return Field(name.text, (self._value(name.text, colon, depth),), name.line)
        values: list[Leaf | Block] = []
        while not self._took("]"):
            if values and not self._took(","):
                raise self._got("',' or ']'")
            values.append(self._value(name.text, colon, depth))
        return Field(name.text, tuple(values), name.line)

    def _value(self, name: str, colon: bool, depth: int) -> Leaf | Block:
        opened = self._now.text
        if self._took(*_CLOSES):
            return self._block(_CLOSES[opened], depth + 1)
        if not colon:
            raise self._got(f"':' or a block after {shown(name)}")
        return self._leaf(name)

    def _leaf(self, name: str) -> Leaf:
        line = self._now.line
        if self._now.kind == "string":
            parts = []
            while self._now.kind == "string":
                token = self._next()
                parts.append(_unescaped(token.text[1:-1], token.line))
            try:
                return Leaf(Kind.STRING, b"".join(parts).decode("utf-8"), line)
            except UnicodeDecodeError:
                raise wrong(line, f"{name}: expected a string of UTF-8") from None
        sign = "-" if self._took("-") else ""
        if self._now.kind == "number":
            return Leaf(Kind.NUMBER, sign + self._next().text, line)
        if self._now.kind == "word" and (not sign or self._now.text.lower() in ("inf", "infinity", "nan")):
            return Leaf(Kind.WORD, sign + self._next().text, line)
        raise self._got(f"a value of {shown(name)}")


def _unescaped(text: str, line: int) -> bytes:
    """Return a string's bytes: an escape may name a byte, or a character."""
    parts, place = [], 0
    for match in _ESCAPE.finditer(text):
        parts.append(text[place : match.start()].encode("utf-8"))
        parts.append(_escape(match.group(1), line))
        place = match.end()
    parts.append(text[place:].encode("utf-8"))
    return b"".join(parts)


def _escape(code: str, line: int) -> bytes:
    if code in _ESCAPES:
        return bytes([_ESCAPES[code]])
    digits = code[1:]
    if code[0] in "01234567" and int(code, 8) < 256:
        return bytes([int(code, 8)])
    if code[0] in "xX" and digits:
        return bytes([int(digits, 16)])
    if code[0] in "uU" and digits and int(digits, 16) < 0x110000 and not 0xD800 <= int(digits, 16) < 0xE000:
        return chr(int(digits, 16)).encode("utf-8")
    raise wrong(line, f"expected an escape of the text format; got {shown(chr(92) + code)}")
