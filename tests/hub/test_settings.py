"""The hub's settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from skerry.core.errors import Invalid
from skerry.host.settings import load
from skerry.hub.settings import HubSettings


def test_file_environment_and_command_line(tmp_path: Path) -> None:
    file = tmp_path / "skerry.toml"
    file.write_text('[hub]\nhttp = "0.0.0.0:1"\ncheck_in = 30\ntrust = ["skerry-ed25519 AA ann"]\n')
    found = load(HubSettings, "hub", file, {"state": tmp_path}, {"SKERRY_HUB_HTTP": "[::1]:0"})
    assert found == HubSettings("[::1]:0", tmp_path, 30.0, trust=("skerry-ed25519 AA ann",))


@pytest.mark.parametrize("http", ["8440", ":8440", "host:", "host:x", "host:65536", "host:-1", "host:²"])
def test_an_address_must_be_one(http: str) -> None:
    with pytest.raises(Invalid, match="HOST:PORT"):
        HubSettings(http=http)


@pytest.mark.parametrize("change", [{"check_in": 0.0}, {"check_in": 1e9}, {"max_blob": 0}, {"max_picture": -1}])
def test_limits_must_make_sense(change: dict[str, float]) -> None:
    with pytest.raises(Invalid, match=next(iter(change))):
        HubSettings(**change)  # type: ignore[arg-type]
