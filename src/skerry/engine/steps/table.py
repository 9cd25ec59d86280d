"""Which steps there are: the one list that a manifest's names are looked up in."""

from __future__ import annotations

from skerry.engine.steps.classify import Softmax, TopK
from skerry.engine.steps.detect import DecodeBoxes, DecodeHeatmap, MapBack, Suppress
from skerry.engine.steps.image import DecodeImage, Layout, Letterbox, Normalise, Resize

PRE = {step.name: step.read for step in (DecodeImage, Resize, Letterbox, Normalise, Layout)}
POST = {step.name: step.read for step in (Softmax, TopK, DecodeHeatmap, DecodeBoxes, Suppress, MapBack)}
