"""The hub's settings: one frozen class, filled by `host.settings.load` from `[hub]` and `SKERRY_HUB_*`.

Values only. No secret stands here: the admin token is made at the first start and only its hash is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from skerry.core.errors import Invalid
from skerry.host.process import split_address
from skerry.wire.results import MAX_PICTURE


@dataclass(frozen=True)
class HubSettings:
    """All that one hub is told at its start."""

    http: str = "127.0.0.1:8440"  # HOST:PORT; port 0 picks a free one. Loopback, so that nothing is open by accident
    state: Path = Path("skerry-hub")  # the folder that holds hub.db and blobs/
    check_in: float = 10.0  # s between a node's check-ins; 1,000 nodes are 100 small requests each second
    max_blob: int = 2 << 30  # bytes of one file of a bundle; edge models are 1 MB to 1 GB
    max_picture: int = MAX_PICTURE  # bytes of one picture; a larger one is dropped, its result kept
    trust: tuple[str, ...] = ()  # publishers' public keys: lines or files; with none, the nodes alone judge signatures

    def __post_init__(self) -> None:
        """Refuse what could not work, naming the field."""
        if not 0.05 <= self.check_in <= 86_400.0:  # what wire.checkin.Orders lets a node believe
            raise Invalid(f"hub.check_in: expected 0.05 to 86400 seconds; got {self.check_in}")
        for name in ("max_blob", "max_picture"):
            if getattr(self, name) < 1:
                raise Invalid(f"hub.{name}: expected 1 byte or more; got {getattr(self, name)}")
        split_address(self.http)
