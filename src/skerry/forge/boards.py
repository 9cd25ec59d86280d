"""A synthetic scan of a bare board with known defects: one seed gives the same bytes (numpy, Pillow unchanged).

Here a layout becomes an etched, scanned, binarised image with true boxes. Never here: pixels of a real
board, files, torch. Copper is black (0), bare board is white (255), about 48 px to the millimetre.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from skerry.forge.bodies import Mask
from skerry.forge.layouts import draw_layout
from skerry.forge.marks import LABELS, Defect, Ground, add_defect

# How often each label is tried. Fewer than one in three strokes meant as a short finds its gap, and a short looks
# most like sound copper of all labels: at equal shares the detector was shy of them (recall 0.68, precision 0.90).
SHARES = {"open": 0.16, "short": 0.21, "mousebite": 0.17, "spur": 0.16, "copper": 0.16, "pin-hole": 0.14}
SIZE = 640  # px; the input of the detector and of the boards that it is scored on


@dataclass(frozen=True)
class Board:
    """A scan, the same scan without its defects, and the truth about the difference."""

    image: NDArray[np.uint8]
    clean: NDArray[np.uint8]
    defects: tuple[Defect, ...]


def _noise(rng: np.random.Generator, size: int, grain: int) -> NDArray[np.float32]:
    """Smooth noise with a wavelength of `grain` pixels and a spread of about one."""
    coarse = rng.normal(128, 40, (size // grain + 2, size // grain + 2)).clip(0, 255).astype(np.uint8)
    big = Image.fromarray(coarse).resize((coarse.shape[1] * grain, coarse.shape[0] * grain), Image.Resampling.BILINEAR)
    return np.asarray((np.asarray(big, np.float32)[:size, :size] - 128).clip(-90, 90) / 40, np.float32)


def _etch(rng: np.random.Generator, copper: Mask) -> Mask:
    """Round corners and fray edges: blur, add noise of several wavelengths, threshold again."""
    soft = Image.fromarray(copper.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(float(rng.uniform(0.7, 1.9))))
    level = np.asarray(soft, np.float32) / 255
    fray = float(rng.choice([0.0, 0.04, 0.08, 0.13]))
    if fray:
        level = level + fray * _noise(rng, len(copper), int(rng.integers(2, 5)))
        level = level + fray * 0.5 * _noise(rng, len(copper), 12)
    return np.asarray(level > rng.uniform(0.4, 0.6))


def _dust(rng: np.random.Generator, copper: Mask) -> None:
    """Flip crumbs of one to three pixels, more of them near edges than elsewhere."""
    size = len(copper)
    for _ in range(int(rng.choice([0, 0, 0, 3, 12]))):
        y, x = rng.integers(0, size - 3, 2)
        high, wide = rng.integers(1, 4, 2)
        copper[y : y + high, x : x + wide] ^= True


def render_board(seed: int, defects: int | None = None, size: int = SIZE) -> Board:
    """Render the board of a seed. `defects` asks for so many (None: 3 to 12); fewer come if there is no room."""
    rng = np.random.default_rng([seed, 0xB0A2D])
    copper = _etch(rng, draw_layout(rng, size))
    _dust(rng, copper)
    clean = copper.copy()
    wanted = int(rng.integers(3, 13)) if defects is None else defects
    ground, taken = Ground.of(copper), np.zeros_like(copper)
    found = []
    for label in rng.choice(LABELS, wanted, p=[SHARES[label] for label in LABELS]):
        defect = add_defect(rng, copper, ground, str(label), taken)
        if defect:
            found.append(defect)
    return Board(_scan(copper), _scan(clean), tuple(found))


def _scan(copper: Mask) -> NDArray[np.uint8]:
    return np.where(copper, 0, 255).astype(np.uint8)
