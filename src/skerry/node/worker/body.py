"""Bodies as clients send them: compressed, or one file inside a form. Limits first, then bytes."""

from __future__ import annotations

import zlib

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from skerry.core.errors import Invalid, TooLarge
from skerry.core.names import shown
from skerry.node.worker.order import MAX_BODY

MULTIPART = "multipart/form-data"
MAX_MEMBERS = 16  # of gzip (RFC 1952, section 2.2): what joins files makes a few
_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 15}  # zlib's wbits; HTTP's deflate is zlib's format


def inflated(body: memoryview, encoding: str) -> memoryview:
    """Return a body without its Content-Encoding; raise Invalid, or TooLarge if it grows past MAX_BODY."""
    coding = encoding.strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in _WINDOWS:
        raise Invalid(f"Content-Encoding: expected gzip or deflate; got {shown(encoding)}")
    found: list[bytes] = []
    left: bytes | memoryview = body
    for _ in range(1 if coding == "deflate" else MAX_MEMBERS):
        opened = zlib.decompressobj(_WINDOWS[coding])
        try:
            found.append(opened.decompress(left, MAX_BODY - sum(map(len, found)) + 1))
        except zlib.error as error:
            raise Invalid(f"body: it is not {coding}: {error}") from None
        if sum(map(len, found)) > MAX_BODY:
            raise TooLarge(f"body: expected at most {MAX_BODY} bytes after {coding}")
        if not opened.eof:
            raise Invalid(f"body: the {coding} data is cut off")
        left = opened.unused_data
        if not left:
            return memoryview(found[0] if len(found) == 1 else b"".join(found))
    raise Invalid(f"body: {len(left)} bytes after the end of its {coding} data")


class _File:
    """Collects the first file of a form as the parser walks it."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.data: list[bytes] = []
        self.parts = 0
        self.whole = False
        self._field, self._value = b"", b""
        self._here = False

    def on_part_begin(self) -> None:
        self.parts += 1
        if self.parts > MAX_PARTS:
            raise Invalid(f"{MULTIPART}: expected at most {MAX_PARTS} parts")
        self._here = False

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._field.lower() == b"content-disposition" and self.name is None:
            _, options = parse_options_header(self._value)
            if b"filename" in options:
                self._here, self.name = True, options[b"filename"].decode("utf-8", "replace")
        self._field, self._value = b"", b""

    def on_end(self) -> None:
        self.whole = True

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._here:
            self.data.append(data[start:end])


MAX_PARTS = 17  # one file and sixteen fields


def first_file(content_type: str, body: memoryview) -> tuple[bytes, str]:
    """Return the first file of a form and its name; raise Invalid if it has none."""
    _, options = parse_options_header(content_type)
    if b"boundary" not in options:
        raise Invalid(f"{MULTIPART}: expected a boundary in the Content-Type")
    found = _File()
    calls = {name: getattr(found, name) for name in dir(found) if name.startswith("on_")}
    try:
        parser = MultipartParser(options[b"boundary"], calls)  # type: ignore[arg-type]
        parser.write(bytes(body))
        parser.finalize()
    except FormParserError as error:
        raise Invalid(f"{MULTIPART}: {error}") from None
    if not found.whole:
        raise Invalid(f"{MULTIPART}: the form has no end")
    if found.name is None:
        raise Invalid(f"{MULTIPART}: expected one file; got none")
    return b"".join(found.data), found.name
