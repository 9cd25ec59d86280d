"""The renderer: the same seed gives the same board, and the truth about a board is true."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw

from skerry.forge.boards import SIZE, render_board
from skerry.forge.bodies import bodies, grow
from skerry.forge.layouts import FAMILIES, Pen
from skerry.forge.marks import BOX_MARGIN, LABELS, NATURE, Ground, add_defect

SEEDS = range(12)


@pytest.fixture(scope="module")
def boards():
    return [render_board(seed, 14) for seed in SEEDS]


def test_a_seed_gives_the_same_bytes(boards):
    for seed in (0, 7):
        again = render_board(seed, 14)
        assert again.image.tobytes() == boards[seed].image.tobytes()
        assert again.defects == boards[seed].defects


def test_seeds_give_different_boards(boards):
    assert len({b.image.tobytes() for b in boards}) == len(boards)


def test_images_are_binary_and_of_the_served_size(boards):
    for board in boards:
        assert board.image.shape == (SIZE, SIZE)
        assert board.image.dtype == np.uint8
        assert set(np.unique(board.image)) <= {0, 255}


def test_all_labels_occur(boards):
    assert {d.label for b in boards for d in b.defects} == set(LABELS)


def test_boxes_hold_the_difference_to_the_sound_twin_with_the_margin(boards):
    for board in boards:
        changed = board.image != board.clean
        covered = np.zeros_like(changed)
        for d in board.defects:
            assert 0 <= d.x1 < d.x2 < SIZE
            assert 0 <= d.y1 < d.y2 < SIZE
            inside = changed[d.y1 : d.y2 + 1, d.x1 : d.x2 + 1]
            assert inside.sum() >= 8
            ys, xs = np.nonzero(inside)
            assert np.ptp(xs) >= d.x2 - d.x1 - 2 * BOX_MARGIN
            assert np.ptp(ys) >= d.y2 - d.y1 - 2 * BOX_MARGIN
            covered[d.y1 : d.y2 + 1, d.x1 : d.x2 + 1] = True
        assert not (changed & ~covered).any()


def test_a_defect_adds_or_takes_copper_as_its_label_says(boards):
    for board in boards:
        for d in board.defects:
            part = np.s_[d.y1 : d.y2 + 1, d.x1 : d.x2 + 1]
            now, before = board.image[part] == 0, board.clean[part] == 0
            more, less = (now & ~before).sum(), (before & ~now).sum()
            assert more != less
            assert (more > less) == NATURE[d.label][0]


def test_a_sound_board_is_its_own_twin():
    board = render_board(3, 0)
    assert board.defects == ()
    assert (board.image == board.clean).all()


def test_every_family_draws_at_any_seed():
    for family, _ in FAMILIES:
        for seed in range(25):
            canvas = Image.new("L", (400, 400))
            family(Pen(ImageDraw.Draw(canvas), np.random.default_rng(seed), 400))


@pytest.mark.parametrize("label", LABELS)
def test_only_a_short_joins_bars_and_only_an_open_joins_gaps(label):
    adds, touches = NATURE[label]
    joins = []
    for seed in range(12):
        copper = np.zeros((200, 200), bool)
        copper[:, 50:80] = copper[:, 110:140] = True
        if add_defect(np.random.default_rng(seed), copper, Ground.of(copper), label, np.zeros_like(copper)):
            bars, gaps = bodies(copper), bodies(~copper)
            joined_bars = len({bars[0, 65], bars[199, 65]} & {bars[0, 125], bars[199, 125]}) > 0
            joined_gaps = len({gaps[0, 20], gaps[0, 95]}) == 1 or len({gaps[0, 95], gaps[0, 180]}) == 1
            assert not (joined_bars and label != "short")
            assert not (joined_gaps and label != "open")
            joins.append(joined_bars if adds else joined_gaps)
    assert len(joins) >= 6
    assert any(joins) == (touches == 2)  # a speckled mark may leave crumbs that do not quite join


@settings(max_examples=40, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_bodies_agree_with_a_flood(mask):
    numbers = bodies(mask)
    assert ((numbers > 0) == mask).all()
    seen = np.zeros(mask.shape, int)
    count = 0
    for start in np.argwhere(mask):
        if seen[tuple(start)]:
            continue
        count += 1
        todo = [tuple(start)]
        while todo:
            y, x = todo.pop()
            if 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and mask[y, x] and not seen[y, x]:
                seen[y, x] = count
                todo += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
    both = set(zip(seen[mask].tolist(), numbers[mask].tolist(), strict=True))
    assert len(both) == count == len(np.unique(numbers[mask]))


@settings(max_examples=30, deadline=None)
@given(arrays(bool, st.tuples(st.integers(4, 12), st.integers(4, 12))), st.integers(1, 3))
def test_growing_is_a_square_dilation(mask, steps):
    want = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        want[max(0, y - steps) : y + steps + 1, max(0, x - steps) : x + steps + 1] = True
    assert (grow(mask, steps) == want).all()
