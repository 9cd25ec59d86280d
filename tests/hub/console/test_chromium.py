"""The console in a real browser: it fits its screen, breaks none of its own rules, and shows what happens by itself."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.wire.results import Alarm, Batch, Entry
from tests.hub.console.chromium import FOUND, Chromium
from tests.hub.console.town import BOARDS, board, entries, populate, served
from tests.hub.world import World

pytestmark = pytest.mark.skipif(FOUND is None, reason="chromium is not installed (apt-get install chromium)")

PAGES = ["/", "/nodes", "/nodes/line-1-cam", "/nodes/line-3-cam", "/models", "/models/boards", "/rollouts"]
PAGES += ["/rollouts/2", "/rollouts/3", "/results", "/results/1", "/alarms", "/events", "/login", "/nowhere"]
SIZES = [(1024, 768, False), (1024, 768, True), (768, 1024, False), (360, 800, True), (1440, 900, False)]
WIDER = "document.documentElement.scrollWidth > innerWidth"
SMALL = """[...document.querySelectorAll('button, .button, select, nav a, input:not([type=hidden],[type=checkbox])')]
  .filter(e => e.offsetParent && e.getBoundingClientRect().height < 44).map(e => e.outerHTML.slice(0, 90))"""
TINY = """[...document.querySelectorAll('body *')].filter(e => e.offsetParent && e.children.length == 0
  && e.textContent.trim() && parseFloat(getComputedStyle(e).fontSize) < 16).map(e => e.outerHTML.slice(0, 90))"""
FAINT = """(() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgb = text => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b; };
  const under = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
    if (c[3] > 250) return c; } return [255, 255, 255, 255]; };
  return [...document.querySelectorAll('body *')].filter(e => e.offsetParent && !e.closest('svg')
      && [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim())).map(e => {
    const a = light(rgb(getComputedStyle(e).color).slice(0, 3)), b = light(under(e).slice(0, 3));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    return ratio < 4.5 ? ratio.toFixed(2) + ' ' + e.outerHTML.slice(0, 90) : ''; }).filter(Boolean); })()"""


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, str]]:
    """Return a populated hub and its address."""
    world = World(tmp_path_factory.mktemp("town"))
    world.clock.time = time.time()
    populate(world, [board(seed) for seed in range(30)])
    with served(world) as url:
        yield world, url
    world.close()


@pytest.fixture(scope="module")
def browser(town: tuple[World, str]) -> Iterator[Chromium]:
    """Return a browser that is logged in through the link that a demo prints."""
    made = Chromium()
    world, url = town
    made.go(f"{url}/?token={world.admin}")
    assert made.run("location.href") == f"{url}/"
    yield made
    made.close()


@pytest.mark.parametrize(("width", "height", "dark"), SIZES)
def test_every_page_fits_and_can_be_read(
    town: tuple[World, str], browser: Chromium, width: int, height: int, dark: bool
) -> None:
    browser.look(width, height, dark)
    browser.complaints.clear()
    for page in PAGES:
        browser.go(town[1] + page)
        browser.run("for (const e of document.querySelectorAll('details')) e.open = true")
        browser.run("for (const e of document.getAnimations()) e.finish()")
        assert not browser.run(WIDER), page
        assert browser.run(SMALL) == [], page
        assert browser.run(TINY) == [], page
        assert browser.run(FAINT) == [], page
        keep = os.environ.get("SKERRY_SHOTS")
        if keep:
            name = f"{page.strip('/').replace('/', '-') or 'overview'}-{width}-{'dark' if dark else 'light'}.png"
            browser.shot(Path(keep) / name)
    # a page that is left cuts its stream; what else it says would be a break of the content security policy
    assert [c for c in browser.complaints if "404" not in c] == []


def test_what_happens_comes_by_itself(town: tuple[World, str], browser: Chromium) -> None:
    world, url = town
    browser.look()
    browser.go(url + "/")
    browser.run("document.querySelector('#banner button').click()")
    browser.wait("!document.querySelector('.banner')")
    browser.wait("document.querySelector('[data-link=live]')")
    browser.run("window.same = true; document.querySelector('#strip').scrollLeft = 200")
    browser.run("document.querySelector('a[href=\"/models\"].tile').focus()")
    (fresh,) = entries(world, [board(77)], first=900)
    alarm = Entry(901, world.clock.time, Alarm("all at once", BOARDS, 900, "7 of 7"))
    world.rooms.results.take(world.enrol("late-1", "dock"), Batch("new", (fresh, alarm)))
    browser.wait("document.querySelector('#strip').textContent.includes('board-1900.png')")
    browser.wait("document.querySelector('#banner .banner')?.textContent.includes('all at once')")
    browser.wait("document.querySelector('.tile').textContent.includes('/ 6')")
    browser.wait("document.querySelector('#strip image').getBBox().width == 320")
    assert browser.run("window.same"), "the page was loaded anew"
    assert browser.run("document.querySelector('#strip').scrollLeft") > 100
    assert browser.run("document.activeElement.getAttribute('href')") == "/models"
    assert browser.run("document.querySelector('#strip time').textContent").endswith(("just now", "s ago"))


def test_more_results_load_below_and_new_ones_are_told_above(town: tuple[World, str], browser: Chromium) -> None:
    world, url = town
    browser.go(url + "/results")
    assert browser.run("document.querySelectorAll('#cards .card').length") == 24
    browser.wait("document.querySelector('[data-link=live]')")
    browser.run("document.querySelector('#more a').click()")
    browser.wait("document.querySelectorAll('#cards .card').length >= 30 && !document.querySelector('#more')")
    numbers = browser.run("[...document.querySelectorAll('#cards .frame')].map(a => +a.href.split('/').pop())")
    assert numbers == list(range(max(numbers), 0, -1))
    (fresh,) = entries(world, [board(78)], first=1)
    world.rooms.results.take(world.enrol("late-2", "dock"), Batch("new", (fresh,)))
    browser.wait("document.querySelector('#fresh').textContent.includes('Show 1 new result')")
    browser.run("document.querySelector('[name=findings]').click()")
    browser.wait("location.search.includes('findings=1')")


def test_the_picture_grows_the_theme_stays_and_a_cancel_asks_first(town: tuple[World, str], browser: Chromium) -> None:
    world, url = town
    browser.look(dark=False)
    browser.go(url + "/results/3")
    width = "document.querySelector('.view .shot').getBoundingClientRect().width"
    before = browser.run(width)
    browser.run("document.querySelector('[data-zoom-by=\"1\"]').click()")
    assert browser.run(width) > before * 1.5
    assert not browser.run(WIDER)
    browser.run("document.querySelector('[data-theme-button]').click()")
    browser.go(url + "/rollouts/3")
    assert browser.run("document.documentElement.dataset.theme") == "dark"
    browser.run("localStorage.clear()")
    danger = "document.querySelector('#cancel .danger')"
    assert not browser.run(f"{danger}.checkVisibility()")
    browser.run("document.querySelector('#cancel summary').click()")
    assert browser.run(f"{danger}.checkVisibility()")
    browser.run(f"{danger}.click()")
    browser.wait("document.querySelector('h1')?.textContent.includes('cancelled')")
    assert world.states(3)[0] == "cancelled"
    browser.go(url + "/models/boards")
    browser.run("document.querySelector('[name=to]').value = 'node:line-2-cam'")
    browser.run("document.querySelector('.fields button').click()")
    browser.wait("location.pathname.startsWith('/rollouts/') && document.readyState == 'complete'")
    browser.wait("document.querySelector('h1').textContent.includes('running')")


def test_who_may_no_longer_be_in_is_led_to_the_door(town: tuple[World, str], browser: Chromium) -> None:
    world, url = town
    browser.go(url + "/nodes")
    browser.wait("document.querySelector('[data-link=live]')")
    world.rooms.people.new_admin_token()  # an event, on which the page asks for its nodes again
    browser.wait("location.pathname == '/login' && document.querySelector('#token')")
