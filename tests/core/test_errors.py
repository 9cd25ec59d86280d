from __future__ import annotations

import inspect

import pytest

from skerry.core import errors

TREE = {
    "RequestError": ["Invalid", "NotFound", "TooLarge", "NotAllowed", "Conflict", "Unsupported"],
    "BusyError": ["QueueFull", "NotReady", "DeadlinePassed"],
    "TrustError": ["BadSignature", "Expired", "RolledBack", "WrongDigest"],
    "PeerError": ["Unreachable", "BrokenReply"],
    "ModelError": ["LoadFailed", "RunFailed", "GoldenFailed"],
}


@pytest.mark.parametrize(("branch", "names"), TREE.items())
def test_each_error_stands_under_who_must_act(branch, names):
    assert getattr(errors, branch).__base__ is errors.SkerryError
    assert all(getattr(errors, name).__base__ is getattr(errors, branch) for name in names)


def test_the_tree_is_whole():
    known = {"SkerryError", *TREE, *(name for names in TREE.values() for name in names)}
    assert {name for name, _ in inspect.getmembers(errors, inspect.isclass)} == known


def test_the_drawing_at_the_top_is_the_tree():
    drawn = [line[3:] for line in (errors.__doc__ or "").splitlines() if line.startswith(("├─ ", "└─ "))]
    for line, (branch, names) in zip(drawn, TREE.items(), strict=True):
        assert line.startswith(branch + " ")
        assert line.endswith(" " + " · ".join(names))


def test_a_busy_error_says_when_to_come_back():
    assert errors.QueueFull("full").after == 1.0
    error = errors.NotReady("loading", after=2.5)
    assert (str(error), error.after) == ("loading", 2.5)
