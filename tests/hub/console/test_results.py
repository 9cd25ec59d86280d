"""Results and their pictures: what is drawn, what is paged, and which bytes a browser is given."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.finding import Finding
from skerry.core.manifest import digest_of
from skerry.core.names import Digest
from skerry.hub.console.overlay import Overlay, keys, large, small
from skerry.hub.store.results import ResultRow, Which
from skerry.hub.store.store import Page
from skerry.wire.results import Batch, Entry, Result
from tests.hub.console.town import board, known
from tests.hub.world import BOARDS, World, result

JPEG = b"\xff\xd8\xff\xe0" + b"x" * 40
PNG = board(3)[0]


def take(world: World, *entries: Entry, node: str = "dock-1") -> None:
    """Let a node bring entries home."""
    world.rooms.results.take(world.enrol(node), Batch("e", entries))


@pytest.mark.parametrize(("data", "kind"), [(JPEG, "image/jpeg"), (PNG, "image/png")])
def test_a_picture_is_shown_as_what_it_is(world: World, data: bytes, kind: str) -> None:
    take(world, result(1, picture=data))
    answer = known(world).get("/results/1/picture")
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, data, kind)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"


@pytest.mark.parametrize(
    "data", [b"<svg onload='alert(1)'/>", b"<html><script>alert(1)</script>", b"GIF89a", b"\xff\xd8"]
)
def test_what_is_no_picture_is_not_shown(world: World, data: bytes) -> None:
    take(world, result(1, picture=data))
    answer = known(world).get("/results/1/picture")
    assert answer.status_code == 415
    assert data not in answer.content


def test_a_picture_that_is_not_there(world: World) -> None:
    take(world, result(1), result(2, picture=PNG))
    assert known(world).get("/results/1/picture").status_code == 404
    assert "no picture" in known(world).get("/results/1").text
    world.rooms.blobs.path(digest_of(PNG)).unlink()
    assert known(world).get("/results/2/picture").status_code == 404


def test_boxes_lie_over_the_picture(world: World) -> None:
    take(world, result(1, picture=PNG))
    page = known(world).get("/results/1").text
    assert '<svg class="shot" viewBox="0 0 640 480"' in page
    assert '<rect class="box hue-0" x="1.0" y="2.0" width="2.0" height="2.0"/>' in page
    assert "crack 90 %</text>" in page
    assert "1, 2 – 3, 4" in page
    assert "&#34;label&#34;: &#34;crack&#34;" in page


def ids(text: str) -> list[int]:
    """Return the results on a page, in its order."""
    return [int(number) for number in re.findall(r'class="frame" href="/results/(\d+)"', text)]


def test_pages_follow_each_other_without_a_hole(world: World) -> None:
    take(world, *(result(n) for n in range(1, 61)))
    browser, seen, path = known(world), [], "/results"
    for _ in range(9):
        page = browser.get(path).text
        seen += ids(page)
        more = re.search(r'id="more"[^>]*><a [^>]*hx-get="([^"]+)"', page)
        if more is None:
            break
        path = more.group(1).replace("&amp;", "&")
    assert seen == list(range(60, 0, -1))


def test_filters_hold_over_pages(world: World) -> None:
    take(world, *(result(n, "crack" if n % 2 else None) for n in range(1, 61)))
    take(world, result(1), node="dock-2")
    browser = known(world)
    page = browser.get("/results?findings=1&node=dock-1&model=").text
    assert ids(page) == list(range(59, 11, -2))
    assert 'href="/results?node=dock-1&amp;findings=1&amp;before=13"' in page
    assert ids(browser.get("/results?node=dock-2").text) == [61]
    assert ids(browser.get("/results?model=axles").text) == []
    assert browser.get("/results?before=x").status_code == 400
    assert browser.get("/results?before=" + "9" * 30).status_code == 400


def test_new_results_are_counted(world: World) -> None:
    take(world, *(result(n) for n in range(1, 131)))
    browser = known(world)
    assert "Show" not in browser.get("/results/fresh?after=130").text
    assert "Show 1 new result<" in browser.get("/results/fresh?after=129").text
    assert "Show 100 and more new results" in browser.get("/results/fresh?after=3").text
    assert "after=3" in browser.get("/results/fresh?after=3").text


def test_neighbours_are_a_step_away(world: World) -> None:
    take(world, *(result(n) for n in range(1, 4)))
    page = known(world).get("/results/2").text
    assert 'rel="prev" href="/results/3"' in page
    assert 'rel="next" href="/results/1"' in page
    assert 'rel="prev"' not in known(world).get("/results/3").text
    assert 'rel="next"' not in known(world).get("/results/1").text


def test_counting_since_a_time_agrees_with_a_walk(world: World) -> None:
    node, begin = world.enrol("dock-1"), world.clock.time
    for n in range(1, 40):
        world.clock.time += n % 3
        world.rooms.results.take(node, Batch("e", (result(n),)))
    rows = [row.received for row in world.rooms.results.listed(Which(), Page(1000))]
    for at in [begin - 1, begin, *rows, max(rows) + 1]:
        assert world.rooms.results.since(at).results == sum(received >= at for received in rows)


numbers = st.floats(allow_nan=False) | st.sampled_from([0.0, -1.0, 1e308, -1e308, 639.5])
boxes = st.tuples(numbers, numbers, numbers, numbers)
found = st.builds(Finding, st.text(max_size=40), numbers, st.integers(-1, 90), boxes | st.none())


def row(findings: list[Finding], width: int, height: int) -> ResultRow:
    """Return a result with a picture."""
    body = Result(BOARDS, 1, digest_of(b"b"), "", tuple(findings), width, height, 1.0)
    own = {"id": 1, "node": "n", "epoch": "e", "seq": 1, "at": 0.0, "received": 0.0, "defective": True}
    return ResultRow(**own, **vars(body), picture=Digest("sha256:" + "0" * 64))


@given(st.lists(found, max_size=12), st.integers(0, 10**6), st.integers(0, 10**6))
def test_whatever_a_node_says_is_drawn_inside_the_picture(findings: list[Finding], width: int, height: int) -> None:
    for over in (small(row(findings, width, height)), large(row(findings, width, height))):
        if width == 0 or height == 0:
            assert over is None
            continue
        assert isinstance(over, Overlay)
        tags = [mark.tag for mark in over.marks if mark.tag]
        for mark in over.marks:
            assert 0 <= mark.x <= mark.x + mark.width <= width + 0.02
            assert 0 <= mark.y <= mark.y + mark.height <= height + 0.02
            assert 0 <= mark.hue < 7
        for n, tag in enumerate(tags):
            assert tag.x >= 0 <= tag.y
            assert tag.y + tag.height <= height + 0.02
            assert not any(apart(tag, other) for other in tags[:n])
    assert sum(key.count for key in keys(findings)) == len(findings)


def apart(one: Any, other: Any) -> bool:
    """Whether two tags cover each other."""
    across = one.x < other.x + other.width - 0.05 and other.x < one.x + one.width - 0.05
    return across and one.y < other.y + other.height - 0.05 and other.y < one.y + one.height - 0.05
