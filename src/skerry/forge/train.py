"""The training loop of the board detector, in full view.

One dial: `steps`. Everything else follows from it or is a constant with its reason. Boards are rendered while
the network learns; nothing is read but an own checkpoint. Never here: real boards, scoring, the ONNX file.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from skerry.forge.models.detector import REACH, Detector
from skerry.forge.samples import Batch, Crops, batches
from skerry.forge.supply import FIRST, Boards
from skerry.host.files import Disk

RATE = 2.5e-3  # peak learning rate of AdamW for a batch of 16
WARM_UP = 100  # steps until the peak
DECAY = 0.05  # weight decay
EMA = 0.998  # of the weights: a memory of about 500 steps, shorter at the start
SAVE_EVERY = 500  # steps, about a minute


@dataclass(frozen=True)
class TrainPlan:
    """What a run is: the dial, the seed, and what a test may make smaller."""

    steps: int = 8000
    seed: int = 0
    crops: Crops = field(default_factory=Crops)
    processes: int = 1  # that render boards, beside the threads of torch
    first: int = FIRST


@dataclass(frozen=True)
class Step:
    """The state of the loop after one step, for whoever watches it."""

    step: int
    steps: int
    heat_loss: float
    box_loss: float
    rate: float


@dataclass
class Run:
    """What the loop changes, and what a checkpoint holds."""

    net: Detector
    average: Detector
    optimiser: torch.optim.AdamW
    done: int = 0

    @classmethod
    def start(cls, seed: int) -> Run:
        torch.manual_seed(seed)
        net, average = Detector(), Detector()
        average.load_state_dict(net.state_dict())
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(net, average, torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY))

    def save(self, path: Path, seed: int) -> None:
        """Write a checkpoint, whole or not at all."""
        parts = {
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "done": self.done,
            "seed": seed,
        }
        buffer = io.BytesIO()
        torch.save(parts, buffer)
        Disk().write(path, buffer.getvalue())

    def load(self, path: Path, seed: int) -> None:
        parts = torch.load(path, weights_only=True)
        if parts["seed"] != seed:
            raise ValueError(f"{path} belongs to a run of seed {parts['seed']}, not {seed}")
        self.net.load_state_dict(parts["net"])
        self.average.load_state_dict(parts["average"])
        self.optimiser.load_state_dict(parts["optimiser"])
        self.done = parts["done"]


def heat_loss(logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """Penalty-reduced focal loss (CornerNet): near a centre a high answer costs little."""
    target = batch["heat"]
    p = torch.sigmoid(logits).clamp(1e-4, 1 - 1e-4)
    hit = (target == 1).float()
    up = hit * (1 - p) ** 2 * torch.log(p)
    down = (1 - hit) * (1 - target) ** 4 * p**2 * torch.log(1 - p)
    return -((up + down) * batch["judged"]).sum() / hit.sum().clamp(min=1)


def box_loss(sides: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """1 - GIoU of boxes that share a cell centre, plus a little L1 so that far-off boxes get a slope too."""
    here = batch["weight"] > 0
    weight = batch["weight"][here]
    mine = sides.permute(0, 2, 3, 1)[here]
    true = batch["box"].permute(0, 2, 3, 1)[here]
    small, large = torch.minimum(mine, true), torch.maximum(mine, true)
    both = (small[:, 0] + small[:, 2]) * (small[:, 1] + small[:, 3])
    hull = (large[:, 0] + large[:, 2]) * (large[:, 1] + large[:, 3])
    union = sum((s[:, 0] + s[:, 2]) * (s[:, 1] + s[:, 3]) for s in (mine, true)) - both
    giou = both / (union + 1) - (hull - union) / (hull + 1)
    far = functional.l1_loss(mine, true, reduction="none").mean(1) / REACH
    return ((1 - giou + 2 * far) * weight).sum() / weight.sum().clamp(min=1)


def rate_at(step: int, steps: int) -> float:
    """Warm up linearly, then a half cosine down to one hundredth."""
    warm = min(1.0, (step + 1) / min(WARM_UP, max(steps // 4, 1)))
    through = torch.tensor(step / max(steps, 1) * torch.pi)
    return RATE * warm * (0.01 + 0.99 * 0.5 * (1 + float(torch.cos(through))))


def _learn(run: Run, batch: Batch, plan: TrainPlan) -> Step:
    """Do one step on one batch."""
    rate = rate_at(run.done, plan.steps)
    for group in run.optimiser.param_groups:
        group["lr"] = rate
    tensors = {name: torch.from_numpy(value) for name, value in batch._asdict().items()}
    run.net.train()
    # bfloat16 halves the time of a step here (avx512_bf16: 160 ms -> 69 ms); weights and losses stay in float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, sides = run.net(tensors["image"].to(memory_format=torch.channels_last))
    heat, box = heat_loss(logits.float(), tensors), box_loss(sides.float(), tensors)
    run.optimiser.zero_grad(set_to_none=True)
    (heat + box).backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(run.net.parameters(), 5.0)
    run.optimiser.step()
    run.done += 1
    memory = min(EMA, run.done / (run.done + 10))
    with torch.no_grad():
        fresh = run.net.state_dict()
        for name, kept in run.average.state_dict().items():
            if kept.is_floating_point():
                kept.lerp_(fresh[name], 1 - memory)
            else:
                kept.copy_(fresh[name])
    return Step(run.done, plan.steps, float(heat.detach()), float(box.detach()), rate)


def train(plan: TrainPlan, checkpoint: Path, watch: Callable[[Step], None], stop_at: int | None = None) -> Detector:
    """Train, going on from `checkpoint` if it exists, and give the averaged network in evaluation mode.

    `stop_at` ends early after so many steps with the checkpoint written, as a cut would; the same call goes on.
    """
    run = Run.start(plan.seed)
    if checkpoint.exists():
        run.load(checkpoint, plan.seed)
    last = min(plan.steps, stop_at or plan.steps)
    with Boards(plan.seed, plan.processes, plan.first) as boards:
        for batch in batches(boards, plan.crops, plan.seed, range(run.done, last)):
            watch(_learn(run, batch, plan))
            if run.done % SAVE_EVERY == 0 or run.done == last:
                run.save(checkpoint, plan.seed)
    return run.average.eval()
