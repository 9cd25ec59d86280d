"""The table of targets: a name, what takes bytes, and how long inputs may grow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fuzz import connections, media, sessions, wires


@dataclass(frozen=True)
class Target:
    """What takes bytes, and raises if it finds something."""

    run: Callable[[bytes], None]
    size: int = 2048  # bytes of the longest input that is tried


TARGETS: Mapping[str, Target] = {
    "oip": Target(wires.oip_request),
    "tfs": Target(wires.tfs_request),
    "oip_grpc": Target(wires.oip_grpc_request),
    "tfs_grpc": Target(wires.tfs_grpc_request),
    "npy": Target(wires.npy_file),
    "config": Target(wires.config_file),
    "image": Target(media.image, 8192),
    "wav": Target(media.wav, 4096),
    "coded": Target(sessions.coded),
    "form": Target(sessions.form),
    "answers": Target(sessions.answers),
    "quick": Target(sessions.quick),
    "http": Target(connections.http, 4096),
}
