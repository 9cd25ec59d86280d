"""The pages: whole, alone, safe with any name, and with words for what the plots show."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from skerry.core.card import Accuracy, Card, DataUse, Effect, Latency, NotRun, Parity, Pass, Ratio, Target
from skerry.core.gate import Interval, Paired, limit_gate, loss_gate, wilson
from skerry.core.names import Digest
from skerry.forge.data import CLASSES, Data, Example, Leak, Looked, Problem, Shares, leaks, look, read_data, split
from skerry.forge.measure import Bin, Classified, Detected
from skerry.forge.pages import Point, Shown, card_page, data_page, frontier
from skerry.forge.pages.pictures import marked, small
from skerry.forge.pages.plot import Row, reliability, unbeaten, whiskers
from skerry.forge.score import Answer, Truth
from tests.core.values import DIGEST
from tests.models import grey_png

VOID = {"meta", "img"}
HOSTILE = "<script>alert(1)</script>\"'&\x00\ud800 ö"


class Strict(HTMLParser):
    """Reads a page; fails where tags do not close, and keeps its tags and texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def checked(page: str) -> Strict:
    """Return the page read, after looking that it asks nobody for anything."""
    read = Strict(page)
    assert not read.all("script")
    assert not read.all("link")
    for _, attrs in read.tags:
        for name in ("src", "href"):
            assert (attrs.get(name) or "data:image/webp").startswith("data:image/webp")
    assert not re.search(r"url\(|@import", page)
    assert all(attrs.get("alt") is not None for attrs in read.all("img"))
    for found in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        assert 'role="img"' in found
        assert "<title>" in found
    assert "nan" not in re.findall(r'(?:cx|cy|x1|x2|y1|y2|points)="([^"]*)"', page)
    return read


def accuracy(hits: int, count: int = 400) -> Accuracy:
    return Accuracy("top-1", hits / count, wilson(hits, count), count)


BEFORE = Effect(4_000_000, accuracy(389), Latency(3210.5, 3912.2, 5200, 2), coverage=0.0)
AFTER = Effect(999, accuracy(388), Latency(139.5, 181.2, 5200), Ratio(0.43, Interval(0.42, 0.45), 60), None, 0.97)
CARD = Card(
    measured=AFTER,
    scores=(Accuracy("F", 0.9876, Interval(0.98, 0.995), 300, "boards left out"),),
    data=(DataUse("parts", "test", 400, Digest(DIGEST)),),
    recipe="images",
    seeds={"split": 0},
    tools={"torch": "2.13.0"},
    parity=(Parity("torch", 1e-6, 1e-8, 10, 1e-4),),
    passes=(Pass("quantise", False, "loses", BEFORE, AFTER), Pass(HOSTILE, True, HOSTILE, BEFORE, AFTER)),
    target=Target("cpu-2", {"processors": "2"}),
    gates=(loss_gate(Paired(3, 2, 4000), 0.005), limit_gate("size", 2, 1)),
    not_executed=(NotRun("rknn", "kit.zip", HOSTILE),),
    notes=(HOSTILE,),
)
ANSWERS = Classified(
    "d",
    ("bad", "good", HOSTILE),
    tuple("wxyz"),
    np.array([0, 1, 2, 1]),
    np.array([0, 0, 2, -1]),
    np.array([0.9, 0.8, 1, 0]),
)
POINTS = [Point(f"v{n}", 1000.0 * n, accuracy(300 + 10 * n % 70), 1000 * n, chosen=n == 3) for n in range(1, 9)]


def test_a_full_card_has_every_part():
    page = card_page(HOSTILE, CARD, Shown(ANSWERS, {"x": grey_png(9)}, POINTS))
    read = checked(page)
    words = " ".join(read.texts)
    for said in (
        "✗ fail",
        "1 of 2 gates are not proven",
        "✓ pass",
        "↺ rolled back",
        "97.00 %",
        "140 µs",
        "999 B",
        "4.00 MB",
    ):
        assert said in words
    for said in (
        "good, taken for bad (80 % sure): x",
        "nothing",
        "rknn",
        "All 8 variants",
        "sha256:0123",
        "0.43 ×",
        "chosen",
    ):
        assert said in words
    assert len(read.all("img")) == 1
    assert "no picture" in words
    assert len(page) < 60_000


def test_an_empty_card_is_a_page_too():
    words = " ".join(checked(card_page("m", Card())).texts)
    assert "No gate was set." in words
    assert "Passes" not in words
    proven = replace(CARD, gates=CARD.gates[:1])
    assert "The gate is proven." in " ".join(checked(card_page("m", proven)).texts)
    unsure = replace(CARD, gates=(loss_gate(Paired(3, 2, 100), 0.005),))
    assert "? not proven" in " ".join(checked(card_page("m", unsure)).texts)


def test_a_detectors_card_shows_boxes_on_its_worst_pictures():
    spot, other = (2.0, 2.0, 9.0, 9.0), (20.0, 20.0, 30.0, 30.0)
    found = Detected("d", ("spot",), ("a", "b"), ((Answer("spot", 0.9, *other),), ()), ((Truth("spot", *spot),), ()))
    read = checked(card_page("m", Card(), Shown(found, {"a": grey_png(99)})))
    words = " ".join(read.texts)
    assert "1 missed, 1 false: a" in words
    assert "1 boxes missed, 1 answers that fit none" in words
    assert len(read.all("rect")) == 2
    assert "2 pictures, threshold 0.5" in words


def test_many_labels_become_the_pairs_that_are_confused():
    labels = tuple(f"label {n}" for n in range(60))
    found = Classified(
        "d", labels, ("a", "b", "c"), np.array([1, 1, 2]), np.array([5, 5, 2]), np.array([0.5, 0.6, 0.7])
    )
    read = checked(card_page("m", Card(), Shown(found)))
    words = " ".join(read.texts)
    assert "What was confused most" in words
    assert "label 5" in words


names = st.text(max_size=30)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(names, st.floats(0.1, 1e7), st.integers(0, 50)), min_size=1, max_size=9))
def test_any_points_make_a_plot_that_can_be_read(points):
    made = [Point(label, p50, accuracy(hits, 50)) for label, p50, hits in points]
    read = checked(frontier(made))
    assert len(read.all("circle")) == len(points)
    best = unbeaten(made)
    assert best
    assert max(p.accuracy.value for p in made) == max(p.accuracy.value for p in best)
    assert min(p.p50_us for p in made) == min(p.p50_us for p in best)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(names, st.floats(-1e6, 1e6), st.floats(0, 1e3)), min_size=1, max_size=9),
    st.none() | st.floats(-10, 10),
)
def test_any_rows_make_a_plot_that_can_be_read(rows, line):
    made = [Row(label, value, Interval(value - half, value + half), "x") for label, value, half in rows]
    read = checked(whiskers("T", made, " ms", line))
    assert len(read.all("circle")) == len(rows)
    for circle in read.all("circle"):
        assert 0 <= float(circle["cx"]) <= 520


def test_plots_of_nothing_are_nothing():
    assert frontier([]) == whiskers("T", [], "") == reliability([]) == ""
    assert "12 at 90 % sure: 80 % right" in reliability([Bin(0.9, 0.8, 12)])


def test_pictures_are_small_whatever_came():
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (2000, 3000, 3), dtype=np.uint8)).save(file, "JPEG")
    assert len(small(file.getvalue())) < 40_000
    assert small(b"\x89PNG\r\n") == '<div class="none">no picture</div>' == marked(b"", [], [])


def test_the_datas_page(tmp_path):
    for label, levels in {"good": range(0, 250, 5), "bad": (3, 5)}.items():
        (tmp_path / label).mkdir()
        for level in levels:
            (tmp_path / label / f"{level}.png").write_bytes(grey_png(level, 16 + level))
    (tmp_path / "bad/broken & <b>.png").write_bytes(b"x")
    (tmp_path / "good/notes.txt").write_bytes(b"x")
    (tmp_path / "bad/10.png").write_bytes(grey_png(10, 26))
    looked = look(read_data(tmp_path))
    data = split(looked.data, Shares())
    page = data_page(looked, data, leaks(looked, data))
    read = checked(page)
    words = " ".join(read.texts)
    for said in ("53 examples, 2 labels.", "Uneven: 50 of 'good', 3 of 'bad'.", "1 cannot be read", "broken & <b>.png"):
        assert said in words
    for said in ("not a picture", "is labelled otherwise than", "train", "16 × 16 to 261 × 261"):
        assert said in words
    assert len(page) < 300_000


def test_pages_of_data_without_pictures_and_of_none():
    rows = Data("d", CLASSES, "arrays", (Example("row 0", "a", digest="1"), Example("row 1", "b", digest="1")))
    looked = Looked(rows, (Problem("x", "y"),) * 60, ())
    found = (Leak("label", *rows.examples),)
    words = " ".join(checked(data_page(looked, rows, found)).texts)
    assert "The first 50 of 60" in words
    assert "row 0 is labelled otherwise than row 1" in words
    checked(data_page(Looked(replace(rows, examples=()), (), ()), replace(rows, examples=()), ()))
    gone = replace(rows, takes="image")
    assert "no picture" in data_page(Looked(gone, (), ()), gone, ())


@pytest.mark.parametrize("text", [HOSTILE, "a" * 5000, ""])
def test_no_name_breaks_out_of_the_page(text):
    card = replace(CARD, recipe=text, target=Target(text, {text: text}), tools={text: text})
    checked(card_page(text, card, Shown(points=[Point(text, 1.0, accuracy(3))])))
