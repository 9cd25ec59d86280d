"""Content codings of answers: what is chosen, and that what is packed is what was made."""

from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.node.worker.coding import SMALLEST, put, split, wanted
from skerry.node.worker.made import Made
from skerry.node.worker.order import Head, Kind

WINDOWS = {"gzip": 31, "deflate": 15}
NOISE = random.Random(1).randbytes(2 * SMALLEST)
LARGE = b'{"outputs": [1, 2, 3]}' * 1000


@pytest.mark.parametrize(
    ("accept", "coding", "insists"),
    [
        ("", "", False),
        ("gzip", "gzip", True),
        ("deflate", "deflate", True),
        ("x-gzip", "gzip", True),
        ("GZIP ; q=1.0", "gzip", True),
        ("gzip, identity", "gzip", True),
        ("gzip, br;q=0", "gzip", True),
        ("gzip, deflate, br, zstd", "gzip", False),
        ("deflate, gzip;q=0.9", "deflate", False),
        ("br", "", False),
        ("identity", "", False),
        ("gzip;q=0", "", False),
        ("gzip;q=0.1, identity;q=0.5", "", False),
        ("*", "gzip", False),
        ("*;q=0, deflate", "deflate", True),
        ("gzip;q=0, *", "deflate", False),
        ("gzip;q=x", "", False),
        (",;,=", "", False),
    ],
)
def test_what_is_wanted(accept, coding, insists):
    assert wanted(accept) == (coding, insists)


@given(st.text(alphabet="gzip deflate;q=01.,*xbr\t", max_size=40))
def test_any_header_is_read(accept):
    assert wanted(accept)[0] in ("", "gzip", "deflate")


@pytest.mark.parametrize("coding", WINDOWS)
@pytest.mark.parametrize("kind", [Kind.JSON, Kind.BINARY])
def test_a_packed_answer_is_the_same(coding, kind):
    made = Made(LARGE, kind, 22)
    put(made, Head(accept=coding, insists=True))
    assert split(made.kind) == (kind, coding)
    assert len(made.body) < len(LARGE)
    assert zlib.decompress(made.body, WINDOWS[coding]) == LARGE


@pytest.mark.parametrize(
    ("body", "kind", "insists"),
    [
        (LARGE[: SMALLEST - 1], Kind.JSON, True),
        (LARGE, Kind.BINARY, False),
        (LARGE, Kind.PROTO, True),
        (NOISE, Kind.BINARY, True),
    ],
)
def test_what_is_left_as_it_is(body, kind, insists):
    made = Made(body, kind)
    put(made, Head(accept="gzip", insists=insists))
    assert (made.body, split(made.kind)) == (body, (kind, ""))


@given(st.binary(max_size=300), st.integers(0, 255))
def test_any_answer_survives(tail, byte):
    body = bytes([byte]) * SMALLEST + tail
    made = Made(body, Kind.BINARY)
    put(made, Head(accept="gzip", insists=True))
    assert len(made.body) <= len(body)
    kind, coding = split(made.kind)
    assert kind is Kind.BINARY
    assert (zlib.decompress(made.body, 31) if coding else made.body) == body
