"""Made-up requests of a model whose inputs have free dimensions: which sizes these get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from skerry.core.tensor import Spec

FREE = (1, 16, 512)  # tried in this order; models of sound want some hundred samples


def filled(specs: Sequence[Spec], free: int) -> tuple[Spec, ...]:
    """Return inputs without free dimensions: each is `free`, but a first one is 1 where others are free too.

    There it is the batch.
    """
    batch = 1 if any(-1 in spec.shape[1:] for spec in specs) else free
    return tuple(
        replace(
            spec, shape=tuple(size if size >= 0 else free if place else batch for place, size in enumerate(spec.shape))
        )
        for spec in specs
    )
