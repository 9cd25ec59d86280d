"""What every test shares: hypothesis without wall-clock limits (machines are noisy) and the same cases on every run."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("skerry", deadline=None, derandomize=True, database=None)
settings.load_profile("skerry")
