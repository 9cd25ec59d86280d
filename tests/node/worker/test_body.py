"""Bodies as clients send them: forms and packed ones, whole, broken and hostile."""

from __future__ import annotations

import contextlib
import gzip
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.core.errors import Invalid, TooLarge
from skerry.node.worker.body import MAX_PARTS, first_file, inflated
from skerry.node.worker.order import MAX_BODY

KIND = "multipart/form-data; boundary=x"
NAMES = st.text(
    st.characters(exclude_characters='"\\\r\n\x00;%', exclude_categories=("Cs", "Cc")), min_size=1, max_size=12
)


def part(data: bytes, name: str = "a", file: str | None = None) -> bytes:
    more = f'; filename="{file}"' if file is not None else ""
    return f'--x\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + data + b"\r\n"


def form(*parts: bytes) -> memoryview:
    return memoryview(b"".join(parts) + b"--x--\r\n")


@given(st.lists(st.binary(max_size=50), max_size=5), st.binary(max_size=300), NAMES)
def test_the_first_file_is_found_among_fields(fields, data, name):
    parts = [part(one.replace(b"--x", b""), f"f{n}") for n, one in enumerate(fields)]
    body = data.replace(b"--x", b"--y")
    found = first_file(KIND, form(*parts, part(body, "file", name), part(b"another", "more", "z")))
    assert found == (body, name)


@pytest.mark.parametrize(
    "kind", [KIND, 'Multipart/Form-Data; Boundary="x"', "multipart/form-data; charset=utf-8; boundary=x"]
)
def test_the_boundary_is_found_however_it_is_written(kind):
    assert first_file(kind, form(part(b"1", "a", "b"))) == (b"1", "b")


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        ("multipart/form-data", form(part(b"1", "a", "b")), "expected a boundary"),
        ("multipart/form-data; boundary=", form(part(b"1", "a", "b")), "multipart/form-data"),
        (KIND, memoryview(b""), "the form has no end"),
        (KIND, form(), "expected one file"),
        (KIND, form(part(b"1")), "expected one file"),
        (KIND, memoryview(b"no form"), "multipart/form-data"),
        (KIND, memoryview(b"--y\r\n\r\n1\r\n--y--"), "multipart/form-data"),
        (KIND, form(*[part(b"1", f"f{n}") for n in range(MAX_PARTS + 1)]), f"at most {MAX_PARTS} parts"),
        (KIND, memoryview(part(b"1", "a", "b")), "the form has no end"),
        (KIND, memoryview(b"--x\r\n" + b"A" * 100_000), "multipart/form-data"),
    ],
    ids=range(10),
)  # fmt: skip
def test_a_broken_form_is_the_callers_fault(kind, body, text):
    with pytest.raises(Invalid, match=text):
        first_file(kind, body)


PIECES = st.sampled_from(
    [b"--x\r\n", b"--x--\r\n", b"\r\n", b"\r\n\r\n", b"Content-Disposition: ", b"form-data; name=a",
     b"; filename=b", b"--", b"\x00", b"x"]
)  # fmt: skip


@settings(max_examples=300)
@given(
    st.lists(PIECES | st.binary(max_size=10), max_size=14).map(b"".join),
    st.sampled_from([KIND, "multipart/form-data; boundary=--"]),
)
def test_noise_is_a_file_or_the_callers_fault(body, kind):
    try:
        data, name = first_file(kind, memoryview(body))
    except Invalid:
        return
    assert data in body or len(data) <= len(body)
    assert isinstance(name, str)


# --- packed ---

PACKS = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress, "": bytes, "identity": bytes}


@given(st.binary(max_size=3000), st.sampled_from(sorted(PACKS)))
def test_what_is_packed_is_unpacked(data, coding):
    assert bytes(inflated(memoryview(PACKS[coding](data)), coding)) == data
    assert bytes(inflated(memoryview(PACKS[coding](data)), f" {coding.upper()} ")) == data


@given(st.binary(max_size=60), st.integers(0, 200), st.sampled_from(["gzip", "deflate"]), st.data())
def test_packed_noise_is_the_callers_fault(data, cut, coding, more):
    packed = bytearray(PACKS[coding](data)[:cut])
    if packed:
        packed[more.draw(st.integers(0, len(packed) - 1))] ^= more.draw(st.integers(0, 255))
    with contextlib.suppress(Invalid):
        inflated(memoryview(packed), coding)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("extra", [1])
def test_a_bomb_stops_at_the_limit(coding, extra):
    with pytest.raises(TooLarge, match=f"at most {MAX_BODY} bytes after {coding}"):
        inflated(memoryview(PACKS[coding](bytes(MAX_BODY + extra))), coding)
    assert len(inflated(memoryview(PACKS[coding](bytes(MAX_BODY))), coding)) == MAX_BODY


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, deflate", "chunked", "ü"])
def test_another_coding_is_refused_by_name(coding):
    with pytest.raises(Invalid, match="Content-Encoding: expected gzip or deflate; got"):
        inflated(memoryview(b""), coding)
