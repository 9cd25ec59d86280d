from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from skerry.core.names import Digest, ModelName
from skerry.core.plan import Do, Held, PlanStep, Wanted, plan

A, B = ModelName("a"), ModelName("b")
ONE, TWO = Digest("sha256:" + "1" * 64), Digest("sha256:" + "2" * 64)
models = st.sampled_from([ModelName(m) for m in "abcd"])
digests = st.sampled_from([Digest(f"sha256:{d * 64}") for d in "012345"])
desires = st.lists(
    st.builds(Wanted, models, st.integers(1, 9), digests, st.integers(0, 3)), unique_by=lambda w: w.model
)


@dataclass
class Node:
    """A node as a plan sees it, and what each step does to it."""

    committed: dict[ModelName, Digest]
    installed: set[Digest]
    kept: set[Digest]
    refused: set[tuple[Digest, int]]
    broken: set[Digest] = field(default_factory=set)  # bundles whose goldens fail here

    @property
    def held(self) -> Held:
        return Held(dict(self.committed), set(self.installed), set(self.kept), set(self.refused))

    def do(self, step: PlanStep) -> None:
        if step.do is Do.FETCH:
            self.installed.add(step.digest)
        elif step.do is Do.TRY:
            assert step.wanted is not None
            assert step.model is not None
            assert step.digest in self.installed, "a bundle is tried that is not here"
            if step.digest in self.broken:
                self.refused.add((step.digest, step.wanted.rollout))
            else:
                self.committed[step.model] = step.digest
        elif step.do is Do.DROP:
            assert step.model is not None
            assert self.committed.pop(step.model) == step.digest
        else:
            assert step.model is None
            assert step.digest not in self.committed.values(), "a bundle is deleted while it serves"
            self.installed.remove(step.digest)


@st.composite
def nodes(draw: st.DrawFn) -> Node:
    committed = draw(st.dictionaries(models, digests))
    return Node(
        committed,
        installed=set(committed.values()) | draw(st.sets(digests)),
        kept=draw(st.sets(digests)),
        refused=draw(st.sets(st.tuples(digests, st.integers(0, 3)))),
        broken=draw(st.sets(digests)) - set(committed.values()),
    )


@given(desires, nodes())
def test_doing_the_steps_reaches_what_is_desired(desired, node):
    refused = set(node.refused)
    for _ in range(3):
        steps = plan(desired, node.held)
        for step in steps:
            node.do(step)
        if not steps:
            break
    assert plan(desired, node.held) == (), "the plan never ends"
    for want in desired:
        served = node.committed.get(want.model) == want.digest
        assert served or (want.digest, want.rollout) in node.refused
        assert not served or want.digest in node.installed
    assert set(node.committed) <= {want.model for want in desired}
    assert node.refused - refused <= {(want.digest, want.rollout) for want in desired}


@given(desires, nodes(), st.integers(0, 20))
def test_a_plan_that_is_cut_short_is_taken_up_again(desired, node, done):
    for step in plan(desired, node.held)[:done]:
        node.do(step)
    for _ in range(3):
        for step in plan(desired, node.held):
            node.do(step)
    assert plan(desired, node.held) == ()


@given(desires, nodes())
def test_the_network_comes_first_and_deletions_last(desired, node):
    order = [list(Do).index(step.do) for step in plan(desired, node.held)]
    assert order == sorted(order)


@given(desires, nodes(), st.randoms(use_true_random=False))
def test_the_order_of_the_desires_does_not_matter(desired, node, random):
    shuffled = list(desired)
    random.shuffle(shuffled)
    assert plan(shuffled, node.held) == plan(desired, node.held)


@given(desires, nodes())
def test_nothing_that_is_kept_serving_or_wanted_is_forgotten(desired, node):
    forgotten = {step.digest for step in plan(desired, node.held) if step.do is Do.FORGET}
    wanted = {want.model for want in desired}
    assert not forgotten & (node.kept | {want.digest for want in desired})
    assert not forgotten & {digest for model, digest in node.committed.items() if model in wanted}


def test_a_plan_step_by_step():
    want = Wanted(A, 2, TWO, 7)
    held = Held({A: ONE, B: ONE}, {ONE, Digest("sha256:" + "3" * 64)}, {ONE}, set())
    assert plan([want], held) == (
        PlanStep(Do.FETCH, TWO, A, want),
        PlanStep(Do.TRY, TWO, A, want),
        PlanStep(Do.DROP, ONE, B),
        PlanStep(Do.FORGET, Digest("sha256:" + "3" * 64)),
    )


def test_a_refusal_is_final_for_its_rollout_alone():
    held = Held({A: ONE}, {ONE, TWO}, {ONE}, {(TWO, 7)})
    assert plan([Wanted(A, 2, TWO, 7)], held) == ()
    assert [step.do for step in plan([Wanted(A, 2, TWO, 8)], held)] == [Do.TRY]


def test_what_serves_is_not_deleted_although_another_is_wanted_and_refused():
    held = Held({A: ONE}, {ONE, TWO}, kept=(), refused={(TWO, 7)})
    assert plan([Wanted(A, 2, TWO, 7)], held) == ()
