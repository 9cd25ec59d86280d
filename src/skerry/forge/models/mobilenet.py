"""A small classifier of pictures after MobileNetV3-small: any width and side, ReLU, and no gates unless they are asked.

Here lives the network alone. ReLU throughout is the twin that quantises well: ONNX Runtime folds conv and ReLU into one
INT8 kernel, while each h-swish goes back to float. Gates cost a quarter of the time and four tenths of the weights
(width 0.75, 192 pixels, INT8, one thread: 772 us and 791 KB with them, 626 us and 452 KB without). The head has 128
units and not 1024, since few classes need few. Never here: training, files, pre-processing.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

HIDDEN = 128  # units before the last layer
DROPOUT = 0.2
EPS, MOMENTUM = 1e-3, 0.05  # of batch norms; batches are small, so their statistics are kept for longer
FINE_SIDE = 64  # pixels; up to here the stem keeps the side, else 64 pixels would end as 2 x 2 cells


class Row(NamedTuple):
    """One block: kernel, channels inside, channels out, whether it has a gate, whether h-swish is meant, stride."""

    kernel: int
    inner: int
    outer: int
    gate: bool
    swish: bool
    stride: int


ROWS = (
    Row(3, 16, 16, True, False, 2),
    Row(3, 72, 24, False, False, 2),
    Row(3, 88, 24, False, False, 1),
    Row(5, 96, 40, True, True, 2),
    Row(5, 240, 40, True, True, 1),
    Row(5, 240, 40, True, True, 1),
    Row(5, 120, 48, True, True, 1),
    Row(5, 144, 48, True, True, 1),
    Row(5, 288, 96, True, True, 2),
    Row(5, 576, 96, True, True, 1),
    Row(5, 576, 96, True, True, 1),
)
STEM, LAST = 16, 576


@dataclass(frozen=True)
class Shape:
    """Which net: how wide, for pictures of which side and how many channels; whether h-swish and gates stay."""

    width: float = 0.75
    side: int = 160
    channels: int = 3
    swish: bool = False
    gates: bool = False

    @property
    def fine(self) -> bool:
        """Whether the stem keeps the side, so that small things in small pictures are still there at the end."""
        return self.side <= FINE_SIDE


def eighths(channels: float) -> int:
    """Return a number of channels that is a multiple of 8 and loses no more than a tenth."""
    found = max(8, int(channels + 4) // 8 * 8)
    return found + 8 if found < 0.9 * channels else found


def conv(inner: int, outer: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Return a convolution that keeps the side (over its stride), and its batch norm."""
    made = nn.Conv2d(inner, outer, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [made, nn.BatchNorm2d(outer, EPS, MOMENTUM)]


class Gate(nn.Module):
    """How much of each channel goes on: squeeze and excite, with a hard sigmoid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = eighths(channels / 4)
        layers = (nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, inner, 1), nn.ReLU(), nn.Conv2d(inner, channels, 1))
        self.open = nn.Sequential(*layers, nn.Hardsigmoid())

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = x * self.open(x)
        return found


class Block(nn.Module):
    """Wider by a 1x1, a depthwise convolution, a gate, narrower by a 1x1; with a way around where shapes agree."""

    def __init__(self, row: Row, given: int, shape: Shape) -> None:
        super().__init__()
        inner, outer = eighths(row.inner * shape.width), eighths(row.outer * shape.width)
        act: type[nn.Module] = nn.Hardswish if shape.swish and row.swish else nn.ReLU
        layers = [] if inner == given else [*conv(given, inner), act()]
        layers += [*conv(inner, inner, row.kernel, row.stride, inner), act()]
        layers += [Gate(inner)] if row.gate and shape.gates else []
        self.body = nn.Sequential(*layers, *conv(inner, outer))
        self.around = row.stride == 1 and given == outer

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.body(x)
        return x + found if self.around else found


class MobileNet(nn.Module):
    """Pictures [N,channels,side,side], normalised -> logits [N,classes]."""

    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__()
        act: type[nn.Module] = nn.Hardswish if shape.swish else nn.ReLU
        now = eighths(STEM * shape.width)
        layers: list[nn.Module] = [*conv(shape.channels, now, 3, 1 if shape.fine else 2), act()]
        for row in ROWS:
            layers.append(Block(row, now, shape))
            now = eighths(row.outer * shape.width)
        last = eighths(LAST * shape.width)
        self.trunk = nn.Sequential(*layers, *conv(now, last), act(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.hidden = nn.Sequential(nn.Linear(last, HIDDEN), act(), nn.Dropout(DROPOUT))
        self.head = nn.Linear(HIDDEN, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.head(self.hidden(self.trunk(image)))
        return found


class Served(nn.Module):
    """The net as it is exported: `image` to `logits`; the temperature goes into the last layer."""

    def __init__(self, net: MobileNet, temperature: float = 1.0) -> None:
        super().__init__()
        self.net = copy.deepcopy(net).eval()
        with torch.no_grad():
            self.net.head.weight.div_(temperature)
            self.net.head.bias.div_(temperature)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"logits": self.net(image)}
