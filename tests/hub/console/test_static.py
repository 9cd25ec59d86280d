"""What the browser is given: vendored files are what VENDORED.md says, and nothing comes from anywhere else."""

from __future__ import annotations

import hashlib
import re

import pytest

from skerry.hub.console.page import HERE, STATIC
from skerry.hub.console.words import ago, duration, iso, millis, pace, plain, score, short, size, when

TEMPLATES = sorted((HERE / "templates").glob("*.html"))


def test_vendored_files_are_what_is_written_of_them() -> None:
    rows = re.findall(r"\| `([\w.-]+\.js)` \|.*`([0-9a-f]{64})` \|", (STATIC / "VENDORED.md").read_text())
    assert {name for name, _ in rows} == {p.name for p in STATIC.glob("*.min.js")}
    for name, digest in rows:
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == digest
        assert (STATIC / name.replace(".min.js", ".LICENSE")).read_text().strip()


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: p.name)
def test_a_template_trusts_nothing_and_fetches_nothing(path) -> None:
    text = path.read_text()
    assert not re.search(r"\|\s*safe|autoescape|Markup", text)
    assert not re.search(r"\s(style|on\w+)=", text)
    assert not re.search(r"<script(?![^>]*\ssrc=)", text)
    assert not re.search(r"""(src|href)=["'](https?:)?//""", text)


@pytest.mark.parametrize("name", ["skerry.css", "skerry.js"])
def test_our_own_files_fetch_nothing(name: str) -> None:
    assert not re.search(r"https?://|@import|url\(", (STATIC / name).read_text())


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (ago(100.0, 101.0), "just now"),
        (ago(100.0, 130.0), "30 s ago"),
        (ago(100.0, 400.0), "5 min ago"),
        (ago(100.0, 40.0), "in 1 min"),
        (ago(1e300, 0.0), "at no possible time"),
        (when(0.0), "1970-01-01 00:00:00 UTC"),
        (iso(-1e300), ""),
        (duration(7200.0), "2 h"),
        (duration(200_000.0), "2 d"),
        (size(999), "999 B"),
        (size(1_700_000), "1.7 MB"),
        (size(10**400), "1000000.0 TB"),
        (size("lots"), "lots"),
        (size(True), "true"),
        (score(0.876), "88 %"),
        (score(-1e308), "-1e+308"),
        (millis(7.25), "7.2 ms"),
        (millis(250.0), "250 ms"),
        (millis(2500.0), "2.5 s"),
        (pace(0.0), "0"),
        (pace(0.24), "0.2"),
        (pace(1234.0), "1,234"),
        (short("sha256:" + "ab" * 32), "abababababab"),
        (plain("x" * 999), "x" * 400 + "…"),
        (plain({"a": [1]}), '{"a": [1]}'),
    ],
)
def test_a_value_reads_well(found: str, expected: str) -> None:
    assert found == expected
