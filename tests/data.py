"""Where the real test data lies: the folder in SKERRY_TEST_DATA, by default beside the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("SKERRY_TEST_DATA") or ROOT.parent / "shared" / "data")


def needs(name: str) -> pytest.MarkDecorator:
    """Return a mark that skips a test where a set of the data is not there."""
    return pytest.mark.skipif(not (DATA / name).is_dir(), reason=f"no {name} in SKERRY_TEST_DATA ({DATA})")
