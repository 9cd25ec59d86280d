"""Small PyTorch modules for tests of imports: they are built by `module:function` too."""

from __future__ import annotations

from pathlib import Path

import torch


class Pictures(torch.nn.Module):
    """Convolution, batch norm, h-swish, two outputs: scores and the place of the greatest."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.convolution = torch.nn.Conv2d(3, 4, 3)
        self.norm = torch.nn.BatchNorm2d(4)
        self.dense = torch.nn.Linear(4, 5)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        pooled = torch.nn.functional.hardswish(self.norm(self.convolution(image))).mean((2, 3))
        scores = self.dense(pooled)
        return {"scores": scores, "best": scores.argmax(1)}


class Memory(torch.nn.Module):
    """A GRU with its state as input and output."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.gru = torch.nn.GRU(4, 8, batch_first=True)
        with torch.no_grad():
            for weight in self.gru.parameters():  # large, so that a bias in the wrong place shows
                weight.mul_(4)

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        out, after = self.gru(x, state)
        return out, after


class Growing(torch.nn.Module):
    """A sum over a free length, scaled by a keyword."""

    def forward(self, x: torch.Tensor, *, scale: torch.Tensor) -> torch.Tensor:
        return torch.relu(x).sum(1) * scale


def pictures() -> torch.nn.Module:
    return Pictures()


def memory() -> torch.nn.Module:
    return Memory()


def not_a_module() -> int:
    return 3


def save_program(path: Path) -> Path:
    """Write Growing as a torch.export program with two free dimensions."""
    rows, length = torch.export.Dim("rows", min=1, max=64), torch.export.Dim("length", min=1, max=64)
    program = torch.export.export(
        Growing(),
        (torch.randn(2, 5),),
        {"scale": torch.ones(1)},
        dynamic_shapes={"x": {0: rows, 1: length}, "scale": None},
    )
    torch.export.save(program, path)
    return path
