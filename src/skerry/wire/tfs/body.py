"""The JSON object of a TensorFlow Serving request, its members left as text until somebody needs them."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from skerry.core.errors import Invalid, TooLarge
from skerry.core.fields import MANY_DIGITS, TOO_DEEP
from skerry.core.names import shown
from skerry.wire import numbers
from skerry.wire.tfs_models import SIGNATURE

MAX_SHOWN = 200  # characters of a JSON value in an error
_MEMBERS = msgspec.json.Decoder(dict[str, Raw])
_DECODER = json.JSONDecoder()
_ONE = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"(instances|inputs)"[ \t\r\n]*:[ \t\r\n]*(?=\[)')
_END = b" \t\r\n"


def parse_body(data: bytes | memoryview, limit: int) -> dict[str, Any]:
    """Return the body's members as JSON text (`Raw`) or values; what follows the object is ignored, as there."""
    check_size(data, limit)
    try:
        return _MEMBERS.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _slowly(bytes(data))


def check_size(data: bytes | memoryview, limit: int) -> None:
    """Raise TooLarge for a body over the limit."""
    if len(data) > limit:
        raise TooLarge(f"request: expected at most {limit} bytes; got {len(data)}")


def only_list(data: bytes) -> tuple[str, bytes] | None:
    """Return the name and the text of the one list in a body that holds nothing else, or what looks like one.

    The text has not been found to be JSON: it may go on with other members of the body.
    """
    match = _ONE.match(data)
    if match is None:
        return None
    end = len(data.rstrip(_END))
    text = data[match.end() : end - 1].rstrip(_END)
    return (match[1].decode(), text) if data[end - 1 : end] == b"}" and text.endswith(b"]") else None


def value(member: object) -> Any:
    """Return a member of a body, or of anything in it, as JSON values."""
    return numbers.python(bytes(member), "request") if isinstance(member, Raw) else member


def check_signature(body: Mapping[str, Any]) -> None:
    """Raise Invalid unless the body asks for the default signature, or for none."""
    signature = value(body.get("signature_name", SIGNATURE))
    if not isinstance(signature, str):
        raise malformed(body, "not formatted correctly. 'signature_name' key must be a string value.")
    if signature and signature != SIGNATURE:
        raise Invalid(f'Serving signature name: "{signature[:MAX_SHOWN]}" not found in signature def')


def malformed(what: object, text: str) -> Invalid:
    """Return the error of a JSON value that is not what it should be."""
    return Invalid(f"JSON Value: {said(what)} {text}")


def said(what: object) -> str:
    """Return a JSON value as an error shows it: as JSON, cut after MAX_SHOWN characters."""
    if isinstance(what, Raw):
        text = bytes(what)[: 4 * MAX_SHOWN].decode("utf-8", "replace")
    elif isinstance(what, Mapping):
        text = "{" + ", ".join(f"{said(key)}: {said(what[key])}" for key in list(what)[:10]) + "}"
    elif isinstance(what, list):
        text = "[" + ", ".join(map(said, what[:MAX_SHOWN])) + "]"
    else:
        try:
            text = json.dumps(what)
        except ValueError:  # a whole number of more digits than Python will print
            text = shown(what)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"


def is_b64(found: object) -> bool:
    """Whether a JSON value is {"b64": "..."}, which stands for bytes."""
    return isinstance(found, dict) and len(found) == 1 and isinstance(found.get("b64"), str)


def from_b64(found: Any) -> bytes:
    """Return the bytes; padding may be missing, and white space may stand anywhere."""
    if not is_b64(found):
        raise malformed(found, "not formatted correctly for base64 data")
    try:
        plain = "".join(found["b64"].split()).rstrip("=")
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Invalid("Unable to base64 decode") from None


def _slowly(data: bytes) -> dict[str, Any]:
    """Return a body that holds NaN, is followed by something, or is wrong."""
    if not data.strip(_END):
        raise Invalid("JSON Parse error: The document is empty")
    if len(data) > numbers.MAX_SLOW:
        raise Invalid(f"JSON Parse error: NaN and what follows the object are read in at most {numbers.MAX_SLOW} bytes")
    if data.count(b"[") + data.count(b"{") > numbers.MAX_LISTS:
        raise Invalid(f"JSON Parse error: expected at most {numbers.MAX_LISTS} lists and objects")
    try:
        found, _ = _DECODER.raw_decode(data.decode("utf-8").lstrip())
    except UnicodeDecodeError as error:
        raise Invalid(f"JSON Parse error: Invalid encoding in string at offset: {error.start}") from None
    except json.JSONDecodeError as error:
        raise Invalid(f"JSON Parse error: {error.msg} at offset: {error.pos}") from None
    except ValueError:
        raise Invalid(f"JSON Parse error: {MANY_DIGITS}") from None
    except RecursionError:
        raise Invalid(f"JSON Parse error: {TOO_DEEP}") from None
    if not isinstance(found, dict):
        raise malformed(found, "Is not object")
    return found
