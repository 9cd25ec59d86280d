from __future__ import annotations

import time

from skerry.host.clock import Clock, FakeClock


def test_the_clock_is_the_machines():
    clock = Clock()
    assert abs(clock.now() - time.time()) < 5
    before = clock.monotonic()
    assert clock.monotonic() >= before


def test_a_fake_clock_stands_until_it_is_moved():
    clock = FakeClock(100.0)
    assert (clock.now(), clock.monotonic()) == (100.0, 100.0)
    clock.time += 2.5
    assert (clock.now(), clock.monotonic()) == (102.5, 102.5)
