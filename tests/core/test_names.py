from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core import names
from skerry.core.errors import Invalid
from tests.core.values import DIGEST, json_values, tried

GOOD = ["a", "0", "boards", "boards-v2.1_x", "A" * 128, "a..b"]
BAD = [
    "",
    ".",
    "..",
    "-a",
    "_a",
    ".a",
    "a/b",
    "a\\b",
    "a b",
    "a\n",
    "\na",
    "a\0",
    "é",
    "a%2fb",
    "A" * 129,
    None,
    1,
    b"a",
    ["a"],
]
NAMES = [names.model_name, names.node_name, names.group_name]

TRAVERSAL = [
    "..",
    "../x",
    "a/../x",
    "a/..",
    "/etc/passwd",
    "//x",
    "a//b",
    "a/",
    "",
    "/",
    ".",
    "./a",
    "a/./b",
    ".hidden",
    "a/.hidden",
    "~/x",
    "C:\\x",
    "C:/x",
    "a\\..\\b",
    "a\0b",
    "a\n",
    "a/b\n",
    "%2e%2e/x",
    "a b",
    "-rf",
    "\uff0e\uff0e/x",
    "a" * 257,
    None,
    7,
    b"a",
    ["a"],
]


@pytest.mark.parametrize("of", NAMES)
@pytest.mark.parametrize("text", GOOD)
def test_a_good_name_comes_back_as_it_is(of, text):
    assert of(text) == text


@pytest.mark.parametrize("of", NAMES)
@pytest.mark.parametrize("text", BAD)
def test_a_bad_name_is_refused_and_shown(of, text):
    with pytest.raises(Invalid, match=re.escape(names.shown(text))):
        of(text)


@pytest.mark.parametrize("path", ["a", "model.onnx", "goldens/0.png", "_a/b-c.d", "a" * 256, "a..b/c"])
def test_a_plain_path_comes_back_as_it_is(path):
    assert names.file_path(path) == path


@pytest.mark.parametrize("path", TRAVERSAL)
def test_a_path_that_leaves_its_folder_is_refused(path):
    with pytest.raises(Invalid, match="file path"):
        names.file_path(path)


@given(st.text(st.sampled_from("./\\ab\0\n~-"), max_size=8) | st.text(max_size=8))
def test_a_path_that_is_let_through_stays_below_its_folder(text):
    try:
        path = names.file_path(text)
    except Invalid:
        return
    assert all(part and not part.startswith(".") for part in path.split("/"))
    assert path.isascii()
    assert path.isprintable()


@pytest.mark.parametrize(
    ("value", "want"), [(1, 1), ("1", 1), ("007", 7), (2**63 - 1, 2**63 - 1), (str(2**63 - 1), 2**63 - 1)]
)
def test_versions(value, want):
    assert names.version(value) == want


@pytest.mark.parametrize(
    "value", [0, -1, 2**63, "0", "-1", "", " 1", "1 ", "1\n", "1.0", "٣", "9" * 19, "1" * 20, 1.0, True, None, [1]]
)
def test_what_is_no_version(value):
    with pytest.raises(Invalid, match="version: expected a whole number"):
        names.version(value)


def test_digests():
    assert names.digest(DIGEST) == DIGEST


@pytest.mark.parametrize(
    "text", ["", DIGEST[7:], DIGEST.upper(), DIGEST[:-1], DIGEST + "0", DIGEST + "\n", "sha512:" + DIGEST[7:], 5, None]
)
def test_what_is_no_digest(text):
    with pytest.raises(Invalid, match="digest: expected 'sha256:'"):
        names.digest(text)


@given(json_values)
def test_every_name_reader_raises_invalid_alone(value):
    for of in (*NAMES, names.version, names.digest, names.file_path):
        assert str(tried(of, value, refusing=Invalid)).isprintable()


@given(st.text() | json_values, st.integers(0, 80))
def test_what_is_shown_is_printable_and_short(value, limit):
    shown = names.shown(value, limit)
    assert shown.isprintable()
    assert len(shown) <= limit + 1


def test_what_python_will_not_print_is_shown_all_the_same():
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    assert names.shown(nested) == "a list that cannot be shown"
    assert names.shown(16**5000) == "a int that cannot be shown"
