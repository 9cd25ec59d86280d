"""Which steps there are: the one list that a manifest's names are looked up in."""

from __future__ import annotations

from skerry.engine.steps.audio.mel import Cosines, LogMel
from skerry.engine.steps.audio.micro import MicroFrontend
from skerry.engine.steps.audio.slide import MovingMean, Peak, Reshape, Slide
from skerry.engine.steps.audio.sound import DecodeAudio
from skerry.engine.steps.classify import Dequantise, Softmax, TopK
from skerry.engine.steps.detect import DecodeBoxes, DecodeHeatmap, MapBack, Suppress
from skerry.engine.steps.grid import DecodeFound, DecodeGrid, DecodePriors, DecodeRows
from skerry.engine.steps.image import DecodeImage, Layout, Letterbox, Normalise, Quantise, Resize
from skerry.engine.steps.raw import DecodeRaw

PRE = {
    step.name: step.read
    for step in (
        *(DecodeImage, DecodeRaw, DecodeAudio),
        *(Resize, Letterbox, Normalise, Quantise, Layout),
        *(LogMel, Cosines, MicroFrontend, Slide, Reshape),
    )
}
POST = {
    step.name: step.read
    for step in (
        *(Dequantise, Softmax, TopK, MovingMean, Peak),
        *(DecodeHeatmap, DecodeBoxes, DecodeFound, DecodeRows, DecodeGrid, DecodePriors),
        *(Suppress, MapBack),
    )
}
