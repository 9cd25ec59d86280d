"""The loop: a function of its plan alone, whole after a cut or a kill; the strange pictures; the temperature."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.core.errors import Invalid, LoadFailed
from skerry.forge.images.augment import FLIPS, Strange, plain, strange
from skerry.forge.images.export import temperature_of
from skerry.forge.images.train import Heard, Run, drawn, rate_at, train
from tests.forge.images.kit import part, plan


def same(one: Run, other: Run) -> bool:
    pairs = (
        (one.average.state_dict(), other.average.state_dict()),
        (one.net.state_dict(), other.net.state_dict()),
        (one.best, other.best),
    )
    return all(torch.equal(value, after[name]) for before, after in pairs for name, value in before.items())


class Cut(Exception):
    pass


def test_a_cut_training_ends_with_the_same_weights(tmp_path):
    whole = train(plan(), part(), part(8), tmp_path / "whole.pt", lambda _: None)
    run = Run(plan())
    cut, path = [], tmp_path / "cut.pt"

    def stop(now: Heard) -> None:
        cut.append(now.step)
        if len(cut) == 2:
            raise Cut

    with pytest.raises(Cut):
        train(plan(), part(), part(8), path, stop, save=0.0)
    assert path.exists()
    run.load(path, plan())
    assert 0 < run.done < plan().steps
    assert same(train(plan(), part(), part(8), path, lambda now: cut.append(now.step), save=0.0), whole)
    assert cut[2] == run.done + 1


KILLED = """
import os, signal
from pathlib import Path
from skerry.forge.images.train import train
from tests.forge.images.kit import part, plan
def stop(now):
    if now.step == 4:
        os.kill(os.getpid(), signal.SIGKILL)
train(plan(), part(), part(8), Path({path!r}), stop, save=0.0)
"""


def test_a_killed_training_ends_with_the_same_weights(tmp_path):
    path = tmp_path / "checkpoint.pt"
    root = Path(__file__).parents[3]
    found = subprocess.run([sys.executable, "-c", KILLED.format(path=str(path))], cwd=root, check=False)
    assert found.returncode == -signal.SIGKILL
    steps: list[int] = []
    ended = train(plan(), part(), part(8), path, lambda now: steps.append(now.step))
    assert steps == [4, 5, 6]  # the third step was saved, the fourth not yet
    assert same(ended, train(plan(), part(), part(8), tmp_path / "whole.pt", lambda _: None))


def test_an_ended_training_is_not_begun_again(tmp_path):
    path = tmp_path / "checkpoint.pt"
    first = train(plan(), part(), part(8), path, lambda _: None)
    assert same(train(plan(), part(), part(8), path, lambda _: pytest.fail("a step")), first)


def test_a_strange_checkpoint_is_refused(tmp_path):
    path = tmp_path / "checkpoint.pt"
    train(plan(3), part(), part(8), path, lambda _: None)
    with pytest.raises(LoadFailed, match="another training"):
        train(replace(plan(3), rate=1.0), part(), part(8), path, lambda _: None)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(LoadFailed, match="no checkpoint"):
        train(plan(3), part(), part(8), path, lambda _: None)


def test_rare_labels_are_drawn_more_often_and_none_twice_before_all_were():
    labels = np.array([0] * 90 + [1] * 10)
    rows = list(chain.from_iterable(drawn(labels, replace(plan(), steps=20, batch=10), 0)))
    counts = Counter(rows)
    rare = sum(counts[row] for row in range(90, 100))
    assert 200 * 0.1 < rare < 200 * 0.4  # a quarter is expected
    for own in (range(90), range(90, 100)):
        assert max(counts[row] for row in own) - min(counts[row] for row in own) <= 1
    later = list(chain.from_iterable(drawn(labels, replace(plan(), steps=20, batch=10), 7)))
    assert later == rows[70:]


def test_the_rate_goes_up_and_down():
    rates = [rate_at(step, plan(100)) for step in range(100)]
    assert max(rates) == pytest.approx(plan().rate)
    assert rates.index(max(rates)) in (9, 10)
    assert rates[-1] < 0.02 * plan().rate


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1 << 30), st.sampled_from(FLIPS), st.sampled_from((1, 3)), st.booleans())
def test_strange_pictures_are_finite_and_depend_on_the_seed_alone(seed, flips, channels, hard):
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 40, 40, channels)).astype(np.uint8)
    labels = np.array([0, 1, 2, 1])
    one, other = (strange(pixels, labels, Strange(32, 3, flips), np.random.default_rng(seed), hard) for _ in range(2))
    assert torch.equal(one.image, other.image)
    assert one.image.shape == (4, channels, 32, 32)
    assert bool(one.image.isfinite().all())
    assert torch.allclose(one.target.sum(1), torch.ones(4))
    if not hard:
        assert one.target.argmax(1).tolist() == labels.tolist()


def test_flips_are_named():
    with pytest.raises(Invalid, match="flips: expected none, sides, all"):
        Strange(32, 2, "upwards")


def test_plain_pixels_are_what_the_steps_give():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype(np.uint8)
    wanted = (pixels.astype(np.float64) / 255 - 0.5) / 0.25
    assert np.allclose(plain(pixels).numpy(), wanted.transpose(0, 3, 1, 2), atol=1e-5)


@pytest.mark.parametrize("heat", [0.5, 1.0, 2.0])
def test_the_temperature_is_found(heat):
    random = np.random.default_rng(1)
    logits = torch.from_numpy(random.normal(0, 2, (4000, 3)))
    chances = torch.softmax(logits, 1).numpy()
    labels = torch.tensor([random.choice(3, p=row) for row in chances])
    assert temperature_of(logits * heat, labels) == pytest.approx(heat, rel=0.1)


def test_the_seed_of_the_machine_plays_no_part(tmp_path):
    torch.manual_seed(os.getpid())
    one = train(plan(2), part(), part(8), tmp_path / "one.pt", lambda _: None)
    torch.manual_seed(1)
    np.random.seed(7)
    assert same(train(plan(2), part(), part(8), tmp_path / "two.pt", lambda _: None), one)
