"""The scorer: each truth once, surest answer first, and numbers that stay in their bounds."""

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from skerry.forge.marks import LABELS
from skerry.forge.score import (
    OVERLAP,
    Answer,
    Pair,
    Truth,
    average_precision,
    judge,
    match,
    overlap,
    read_deeppcb,
    thin,
)

BLANK = np.full((8, 8), 255, np.uint8)
side = st.integers(0, 60)
length = st.integers(1, 40)
box = st.tuples(side, side, length, length).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
label = st.sampled_from(LABELS[:2])
truth = st.builds(lambda n, b: Truth(n, *b), label, box)
answer = st.builds(lambda n, s, b: Answer(n, s, *b), label, st.floats(0.01, 1), box)
several = settings(max_examples=60, deadline=None)


def scored(answers, truths, threshold=0.0):
    return judge(lambda _: answers, [Pair("a", BLANK, tuple(truths))]).at(threshold)


@several
@given(st.lists(answer, max_size=8), st.lists(truth, max_size=8))
def test_each_truth_is_hit_at_most_once_and_each_answer_judged_once(answers, truths):
    judged = match(answers, truths)
    assert len(judged) == len(answers)
    for name in LABELS:
        assert sum(j.hit for j in judged if j.label == name) <= sum(t.label == name for t in truths)
    assert [j.score for j in judged] == sorted((a.score for a in answers), reverse=True)


@several
@given(st.lists(answer, max_size=8), st.lists(truth, max_size=8), st.floats(0, 1))
def test_scores_stay_in_bounds_and_counts_add_up(answers, truths, threshold):
    result = scored(answers, truths, threshold)
    for row in (*result.labels, result.total):
        assert 0 <= row.precision <= 1
        assert 0 <= row.recall <= 1
        assert 0 <= row.ap <= 1 + 1e-9
        assert min(row.precision, row.recall) - 1e-9 <= row.f <= max(row.precision, row.recall) + 1e-9
        assert row.hits <= min(row.answers, row.truths)
    assert result.total.truths == len(truths)
    assert result.total.answers == sum(a.score >= threshold for a in answers)


@several
@given(st.lists(truth, min_size=1, max_size=6))
def test_answering_the_truth_is_perfect(truths):
    result = scored([Answer(t.label, 0.9, *t[1:]) for t in truths], truths)
    assert result.total.f == 1
    assert result.total.ap == pytest.approx(1)


@several
@given(st.lists(answer, max_size=8), st.lists(truth, max_size=8), st.floats(0, 1))
def test_a_threshold_after_matching_equals_one_before(answers, truths, threshold):
    after = scored(answers, truths, threshold).total
    before = scored([a for a in answers if a.score >= threshold], truths).total
    assert (after.answers, after.hits) == (before.answers, before.hits)


@several
@given(box, box)
def test_overlap_is_symmetric_and_one_only_for_the_same_box(a, b):
    there, back = overlap(Answer("open", 1, *a), Truth("open", *b)), overlap(Answer("open", 1, *b), Truth("open", *a))
    assert there == pytest.approx(back)
    assert (there == 1) == (a == b)


def test_nothing_against_nothing_is_zero_not_an_error():
    assert scored([], []).total.f == 0
    assert judge(lambda _: [], []).at(0.5).boards == 0
    assert scored([], [Truth("open", 0, 0, 5, 5)]).total.recall == 0
    assert scored([Answer("open", 1, 0, 0, 5, 5)], []).total.precision == 0


def test_another_label_or_a_second_answer_is_a_false_alarm():
    spot = (0, 0, 30, 30)
    answers = [Answer("open", 0.9, *spot), Answer("open", 0.8, *spot), Answer("short", 0.95, *spot)]
    result = scored(answers, [Truth("open", *spot)])
    assert (result.total.hits, result.total.answers) == (1, 3)


def test_the_overlap_must_exceed_the_rule():
    at_the_rule = Answer("open", 1, 0, 0, 33, 100)  # IoU 0.33 with the truth below
    assert overlap(at_the_rule, Truth("open", 0, 0, 100, 100)) == pytest.approx(OVERLAP)
    assert scored([at_the_rule._replace(x2=34)], [Truth("open", 0, 0, 100, 100)]).total.hits == 1
    assert scored([at_the_rule._replace(x2=32)], [Truth("open", 0, 0, 100, 100)]).total.hits == 0


def test_average_precision_by_hand():
    judged = match(
        [Answer("open", 0.9, 0, 0, 10, 10), Answer("open", 0.8, 50, 50, 60, 60), Answer("open", 0.7, 20, 20, 30, 30)],
        [Truth("open", 0, 0, 10, 10), Truth("open", 20, 20, 30, 30)],
    )
    assert average_precision(judged, 2) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_reading_a_copy_of_the_data(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("a", "b"):
        Image.fromarray(BLANK).save(tmp_path / f"images/{name}.png")
    with (tmp_path / "images.csv").open("w", newline="") as file:
        rows = [["id", "split", "test_image"], ["a", "test", "images/a.png"], ["b", "dev", "images/b.png"]]
        csv.writer(file).writerows(rows)
    with (tmp_path / "boxes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "x1", "y1", "x2", "y2", "class"], ["a", 1, 2, 3, 4, "spur"]])
    (pair,) = read_deeppcb(tmp_path, "test")
    assert pair.truths == (Truth("spur", 1, 2, 3, 4),)
    assert pair.image.shape == BLANK.shape
    assert len(list(thin(range(1000), 150, 1000))) in range(140, 170)
