"""The recipe for rows of numbers: standardised, through two hidden layers. A plain PyTorch loop; copy it to begin."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

from skerry.forge.data.look import Watch
from skerry.forge.recipe.recipe import Dial, Parts, Recipe


class Net(nn.Module):
    """Mean and spread of the training rows are constants of the model: a node feeds it what the sensor gives."""

    def __init__(self, x: torch.Tensor, width: int, dropout: float, labels: int) -> None:
        super().__init__()
        self.mean = nn.Buffer(x.mean(0))
        self.spread = nn.Buffer(x.std(0).clamp_min(1e-6))  # a column that never changes divides by no zero
        hidden = [nn.Linear(x.shape[1], width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width), nn.ReLU()]
        self.layers = nn.Sequential(*hidden, nn.Dropout(dropout), nn.Linear(width, labels))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"probabilities": self.layers((x - self.mean) / self.spread).softmax(1)}


def train(parts: Parts, dials: Mapping[str, Dial], watch: Watch) -> nn.Module:
    """Return the module with the least loss on the validation part; stop when it has not fallen for a while."""
    (x, y), (val_x, val_y) = parts.rows(parts.train), parts.rows(parts.val)
    net = Net(x, int(dials["width"]), dials["dropout"], len(parts.labels))
    optimiser = torch.optim.AdamW(net.parameters(), lr=dials["rate"], weight_decay=1e-2)
    epochs, best, least, since = int(dials["epochs"]), copy.deepcopy(net.state_dict()), math.inf, 0
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    for epoch in range(epochs):
        net.train()
        for rows in torch.randperm(len(x)).split(int(dials["batch"])):  # type: ignore[no-untyped-call]
            optimiser.zero_grad()
            loss = functional.nll_loss(net(x[rows])["probabilities"].clamp_min(1e-7).log(), y[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        schedule.step()
        with torch.no_grad():
            now = functional.nll_loss(net.eval()(val_x)["probabilities"].clamp_min(1e-7).log(), val_y).item()
        since = 0 if now < least else since + 1
        if since == 0:
            best, least = copy.deepcopy(net.state_dict()), now
        watch(epoch + 1, epochs, f"training, loss {now:.3f}")
        if since >= dials["patience"]:
            break
    net.load_state_dict(best)
    return net


DIALS: Mapping[str, Dial] = {"width": 96, "epochs": 80, "patience": 20, "batch": 64, "rate": 3e-3, "dropout": 0.4}
TABULAR = Recipe("tabular", train, DIALS)
