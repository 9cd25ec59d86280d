"""What the forge shows people: one file of HTML that needs no network, no script and no fonts from elsewhere.

`card_page` shows a card with its plots and mistakes, `data_page` what a look at the data found. Never here: a number
that is not in what is given.
"""

from skerry.forge.pages.card import Shown, card_page
from skerry.forge.pages.data import data_page
from skerry.forge.pages.plot import Point, frontier

__all__ = ["Point", "Shown", "card_page", "data_page", "frontier"]
