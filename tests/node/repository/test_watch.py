"""What to do when the disk has changed, as tables: what serves, what a look finds, what follows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.names import ModelName
from skerry.node.repository import Do, Found, Listing, Watch, changes
from skerry.node.repository.disk import GRACE
from skerry.wire.config import Options, Policy, Which

ALL = Policy(Which.ALL)


def latest(count):
    return Policy(count=count)


def only(*versions):
    return Policy(Which.SPECIFIC, versions=versions)


def found(version, policy, stamp="s", name="m", **asked):
    path = Path(f"/r/{name}/{version}/model.onnx")
    return Found(ModelName(name), version, path, True, options=Options(policy=policy, **asked), stamp=stamp)


def listing(policy, *versions):
    return Listing(tuple(found(version, policy) for version in versions))


def told(result):
    return [(one.do.value, one.found.version) for one in result]


@pytest.mark.parametrize(
    ("serving", "policy", "there", "expected"),
    [
        ([], latest(1), [1], [("load", 1)]),
        ([1], latest(1), [1], []),
        # a newer version is loaded beside the old one, which goes when the new one serves
        ([1], latest(1), [2], [("load", 2)]),
        ([1, 2], latest(1), [2], [("unload", 1)]),
        ([3, 4], latest(2), [4, 5], [("load", 5)]),
        ([3, 4, 5], latest(2), [4, 5], [("unload", 3)]),
        # the newest has vanished, or is being written again: it stays, and no older one is loaded in its place
        ([3], latest(1), [2], [("note", 3)]),
        ([3, 4], latest(2), [2, 3], [("note", 4)]),
        ([4], latest(1), [], [("note", 4)]),
        ([], latest(1), [], []),
        # the policy was moved
        ([3, 4], latest(1), [4], [("unload", 3)]),
        ([4], latest(2), [3, 4], [("load", 3)]),
        ([3], only(2), [2], [("load", 2)]),
        ([2, 3], only(2), [2], [("unload", 3)]),
        ([1, 2, 3], latest(1), [3], [("unload", 1), ("unload", 2)]),
        ([3], only(5), [], [("note", 3)]),
        # vanished although it is asked for
        ([1, 2], only(1, 2), [1], [("note", 2)]),
        ([1, 2, 3], ALL, [1, 3], [("note", 2)]),
        ([1, 2], ALL, [1, 2, 3], [("load", 3)]),
    ],
)
def test_one_model(serving, policy, there, expected):
    assert told(changes(listing(latest(1), *serving), listing(policy, *there))) == expected


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (found(1, latest(1)), []),
        (found(1, ALL), []),
        (replace(found(1, latest(1)), version_labels={"stable": 1}), []),
        (found(1, latest(1), "t"), [("reload", 1)]),
        (found(1, latest(1), max_batch_size=4), [("reload", 1)]),
        (replace(found(1, latest(1)), labels=("a",)), [("reload", 1)]),
        (replace(found(1, latest(1)), runtime="litert"), [("reload", 1)]),
    ],
)
def test_the_same_version_with_other_files_or_options(now, expected):
    assert told(changes(listing(latest(1), 1), Listing((now,)))) == expected


def test_models_do_not_touch_each_other():
    serving = Listing((found(1, latest(1), name="a"), found(1, latest(1), name="b")))
    after = Listing((found(2, latest(1), name="b"), found(1, latest(1), name="c")))
    assert [(one.do.value, one.found.name, one.found.version) for one in changes(serving, after)] == [
        ("load", "b", 2),
        ("load", "c", 1),
        ("note", "a", 1),
    ]


def test_what_a_label_points_at_stays():
    serving, after = listing(latest(1), 1, 2), listing(latest(1), 2)
    (note,) = changes(serving, after, {"m": {1}})
    assert note.do is Do.NOTE
    assert "a label points at it" in note.why
    assert told(changes(serving, after, {"m": {2}})) == [("unload", 1)]


def obey(watch, after, broken=()):
    """Do what the watch asks until it asks for nothing, as the node does; return what was done."""
    done = []
    while todo := watch.decide(after, None, 0.0) or watch.decide(after, None, GRACE):
        for one in todo:
            done.append((one.do.value, one.found.version))
            if one.do is Do.UNLOAD:
                watch.unloaded(one.found)
            elif one.do is not Do.NOTE and one.found.version in broken:
                watch.failed(one.found, "it is broken")
                after = Listing(tuple(f for f in after.found if f.stamp not in watch.bad or f.version not in broken))
            elif one.do is not Do.NOTE:
                watch.loaded(one.found)
    return done


def test_a_watch_follows_a_repository():
    watch = Watch()
    assert obey(watch, listing(latest(1), 1)) == [("load", 1)]
    assert obey(watch, listing(latest(1), 2)) == [("load", 2), ("unload", 1)]
    assert obey(watch, Listing()) == [("note", 2)]
    assert obey(watch, Listing()) == []  # said once
    assert obey(watch, listing(latest(1), 2)) == []
    assert obey(watch, Listing()) == [("note", 2)]
    assert [one.version for one in watch.serving.found] == [2]


def test_what_is_not_there_for_a_moment_is_not_noted():
    watch = Watch()
    obey(watch, listing(latest(1), 1))
    assert (watch.decide(Listing(), None, 100.0), watch.doubts) == ((), True)
    assert watch.decide(Listing(), None, 101.0) == ()
    assert (watch.decide(listing(latest(1), 1), None, 102.0), watch.doubts) == ((), False)
    assert watch.decide(Listing(), None, 103.0) == ()
    (note,) = watch.decide(Listing(), None, 105.0)
    assert (note.do, watch.doubts) == (Do.NOTE, False)
    assert watch.decide(Listing(), None, 106.0) == ()


def test_what_did_not_load_is_left_alone():
    watch = Watch()
    obey(watch, listing(latest(1), 1))
    new = found(2, latest(1), "bad")
    assert obey(watch, Listing((new,)), broken={2}) == [("load", 2), ("note", 1)]
    assert watch.bad == {"bad": "it is broken"}
    assert [one.version for one in watch.serving.found] == [1]
    assert obey(watch, Listing((found(2, latest(1), "good"),))) == [("load", 2), ("unload", 1)]
    assert watch.bad == {}


POLICIES = (
    st.builds(latest, st.integers(1, 3))
    | st.just(ALL)
    | st.lists(st.integers(1, 5), min_size=1).map(lambda v: only(*v))
)
VERSIONS = st.sets(st.integers(1, 5))


@given(st.lists(st.tuples(POLICIES, VERSIONS, VERSIONS), max_size=6))
def test_a_model_that_serves_never_ceases_to_and_every_round_ends(rounds):
    watch = Watch()
    for policy, there, broken in rounds:
        chosen = policy.chosen(there)
        before = {one.version for one in watch.serving.found}
        obey(watch, listing(policy, *chosen), broken)
        serving = {one.version for one in watch.serving.found}
        assert serving or not before
        lost = before - serving
        assert all(
            version not in policy.versions if policy.which is Which.SPECIFIC
            else policy.which is Which.LATEST and len([v for v in serving if v > version]) >= policy.count
            for version in lost
        )  # fmt: skip
