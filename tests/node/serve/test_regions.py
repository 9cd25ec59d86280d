"""The register of shared memory: names, limits, who sees what, and that no file stays open."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.core.errors import Conflict, Invalid, NotAllowed, NotFound
from skerry.host import regions as host
from skerry.node.serve.local.regions import MAX_NAME, MAX_REGIONS, Region, Regions

KEY = f"skerry-test-{os.getpid()}"


@pytest.fixture
def key() -> Iterator[str]:
    path = Path("/dev/shm") / KEY
    path.write_bytes(bytes(range(100)))
    yield KEY
    path.unlink(missing_ok=True)


@pytest.fixture
def regions() -> Iterator[Regions]:
    before = opened()
    found = Regions(named=True)
    yield found
    found.close()
    assert opened() == before, "files stay open"


def opened() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def memory(size: int = 100, seals: int = host.SEALS) -> int:
    fd = os.memfd_create("test", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def test_workers_read_what_is_registered(regions: Regions, key: str) -> None:
    worker = host.Regions(regions.path)
    regions.register("a", key, 10, 20)
    assert worker.read("a", 5, 2) == bytes([15, 16])
    assert regions.status() == regions.status("a") == [Region("a", key, 10, 20)]
    regions.unregister("a")
    with pytest.raises(NotFound):
        worker.read("a", 0, 1)
    with pytest.raises(NotFound, match="Unable to find system shared memory region: 'a'"):
        regions.status("a")
    regions.unregister("a")
    os.close(worker._board)


def test_who_is_registered_twice_or_badly_is_refused(regions: Regions, key: str) -> None:
    regions.register("a", key, 0, 100)
    with pytest.raises(Conflict, match="'a' already in manager"):
        regions.register("a", key, 0, 100)
    for name in ("", "x" * (MAX_NAME + 1), "a\nb", "\ud800"):
        with pytest.raises(Invalid, match="name: expected 1 to 256 printable characters"):
            regions.register(name, key, 0, 1)
    with pytest.raises(Invalid, match="expected a part of the 100 bytes"):
        regions.register("b", key, 90, 11)
    assert [one.name for one in regions.status()] == ["a"]


def test_a_passed_region_is_known_to_those_who_know_its_name(regions: Regions, key: str) -> None:
    regions.register("a", key, 0, 100)
    one, two = regions.adopt("camera", memory(), 0, 100), regions.adopt("camera", memory(), 0, 50)
    assert one != two
    assert len(one) == len("camera-") + 32
    assert [found.name for found in regions.status()] == ["a"]
    assert regions.status(one) == [Region(one, "memfd", 0, 100)]
    regions.unregister()
    assert regions.status() == []
    assert regions.status(two)
    regions.unregister(one)
    with pytest.raises(NotFound):
        regions.status(one)


def test_what_is_refused_is_closed(regions: Regions) -> None:
    before = opened()
    for name, fd, size in (("x", memory(seals=0), 1), ("x", memory(), 101), ("a\n", memory(), 1)):
        with pytest.raises(Invalid):
            regions.adopt(name, fd, 0, size)
    assert opened() == before


def test_there_are_not_too_many(key: str) -> None:
    regions = Regions(named=True)
    assert regions.path
    for number in range(MAX_REGIONS):
        regions.register(str(number), key, 0, 1)
    with pytest.raises(Conflict, match=f"{MAX_REGIONS} are registered"):
        regions.register("more", key, 0, 1)
    regions.close()


def test_by_name_only_where_the_settings_say_so_and_only_of_known_users(key: str) -> None:
    with pytest.raises(NotAllowed, match="takes no shared memory by name; see 'shared_memory'"):
        Regions(named=False).register("a", key, 0, 1)
    if os.geteuid() == 0:
        os.chown(f"/dev/shm/{key}", 4242, -1)
        with pytest.raises(NotAllowed, match="belongs to user 4242"):
            Regions(named=True).register("a", key, 0, 1)
        allowed = Regions(named=True, uids=(4242,))
        allowed.register("a", key, 0, 1)
        allowed.close()
