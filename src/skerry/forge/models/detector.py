"""A small anchor-free detector: one centre heat map per label and four distances to the sides of the box.

Here lives the network and what its numbers mean. Never here: training, files, decoding to boxes (engine
steps do that, so that training and serving cannot disagree). Only conv, batch norm, ReLU, nearest-neighbour
resize and sigmoid: each has a fast kernel and quantises well in every runtime we ship for.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 8  # input px per output cell; the median defect is 38 px, so two centres in one cell are rare
REACH = 64.0  # px that one unit of the box branch stands for; the largest defects are about 2 * 64 px long
RARE = -4.6  # start of the heat bias: sigmoid is 0.01, so 6,400 empty cells do not drown the first steps


def layer(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Build one 3x3 convolution with batch norm and ReLU; padding keeps the size."""
    conv = nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation=dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Detector(nn.Module):
    """Image [N,1,H,W] in 0..1 (copper 0, board 1) -> heat logits [N,6,H/8,W/8], distances [N,4,H/8,W/8] in px."""

    def __init__(self, labels: int = 6) -> None:
        super().__init__()
        self.fine = nn.Sequential(layer(1, 16, 2), layer(16, 32, 2), layer(32, 64, 2), layer(64, 64))  # 1/8
        # 1/16: the dilated layers see 200 px around a cell, enough to tell a cut trace from one that ends
        self.wide = nn.Sequential(layer(64, 96, 2), layer(96, 96), layer(96, 96, dilation=2))
        self.narrow = nn.Conv2d(96, 64, 1, bias=False)
        self.merge = nn.Sequential(nn.BatchNorm2d(64), nn.ReLU(inplace=True), layer(64, 64))
        self.heat = nn.Conv2d(64, labels, 1)
        self.box = nn.Conv2d(64, 4, 1)
        nn.init.constant_(self.heat.bias, RARE)  # type: ignore[arg-type]
        nn.init.constant_(self.box.bias, 0.3)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.fine(image)
        wide = functional.interpolate(self.narrow(self.wide(fine)), scale_factor=2.0, mode="nearest")
        both = self.merge(fine + wide)
        return self.heat(both), functional.relu(self.box(both)) * REACH


class Served(nn.Module):
    """The detector as it is exported: heat after the sigmoid, outputs named by the exporter."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        heat, box = self.detector(image)
        return torch.sigmoid(heat), box
