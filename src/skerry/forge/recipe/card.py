"""The card in a bundle, read."""

from __future__ import annotations

from skerry.core.card import CARD, Card, read_card
from skerry.core.card.card import MAX_CARD
from skerry.core.errors import NotFound
from skerry.engine.bundle import Bundle
from skerry.host.files import read


def card_of(bundle: Bundle) -> Card:
    """Return a bundle's card; raise NotFound if it has none."""
    data = read(bundle.path / CARD, MAX_CARD)
    if data is None:
        raise NotFound(f"bundle {bundle.path}: no {CARD} in it; the commands of 'skerry forge' write one")
    return read_card(data)
