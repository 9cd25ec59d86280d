"""The training loop, in full view: what a step is, what is kept, and how a cut training goes on to the same weights.

Everything random is drawn from (seed, step), so a checkpoint holds weights, not generators. Arithmetic is float32:
bfloat16 took twice as long here (160 pixels: 123 ms and 244 ms a batch), since depthwise convolutions have no fast
kernel for it. Never here: files of pictures, the ONNX file.
"""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from skerry.core.errors import LoadFailed
from skerry.forge.images.augment import Strange, plain, strange
from skerry.forge.images.pixels import Pixels
from skerry.forge.models.mobilenet import MobileNet, Shape
from skerry.host.clock import Clock
from skerry.host.files import Disk

RATE = 2e-3  # peak of AdamW's learning rate, for batches of 32
BATCH = 32
WARM = 0.1  # of the steps until the peak
LEAST_RATE = 0.01  # of the peak, at the end
DECAY = 0.05  # weight decay, of what is multiplied; never of biases and batch norms
EMA = 0.99  # of the averaged weights: a memory of 100 steps
EASY = 0.85  # of the steps; from here on nothing is mixed or cut out
CLIP = 5.0  # of the gradient's length
PATIENCE = 0.4  # of all rounds without a better validation end it
EVEN = 0.5  # labels are drawn by this power of their counts: 1 as they are, 0 all alike
SAVE_SECONDS = 20.0  # between checkpoints: what a cut may cost
LOOKED = 64  # pictures of validation at once

State = dict[str, Tensor]


@dataclass(frozen=True)
class Plan:
    """What a training is. The same plan on the same pixels gives the same weights, cut or not."""

    shape: Shape
    classes: int
    steps: int
    round: int  # steps between two looks at validation
    batch: int = BATCH
    rate: float = RATE
    seed: int = 0
    flips: str = "sides"
    threads: int = 1

    @property
    def rounds(self) -> int:
        """How many looks at validation there are."""
        return math.ceil(self.steps / self.round)


class Part(NamedTuple):
    """Pixels and the place of each one's label."""

    pixels: Pixels
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Heard:
    """Where the training is, for whoever watches."""

    step: int
    steps: int
    loss: float
    accuracy: float  # of the averaged weights on validation, at the last look; 0 before the first


Watch = Callable[[Heard], None]


class Run:
    """What the loop changes, and what a checkpoint holds."""

    def __init__(self, plan: Plan, start: State | None = None) -> None:
        torch.manual_seed(plan.seed)
        net = MobileNet(plan.shape, plan.classes)
        if start is not None:
            net.load_state_dict(start)
        self.average = copy.deepcopy(net).eval()
        self.net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        heavy = [p for p in self.net.parameters() if p.ndim > 1]
        light = [p for p in self.net.parameters() if p.ndim <= 1]
        groups = [{"params": heavy, "weight_decay": DECAY}, {"params": light, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=plan.rate)
        self.best = {name: value.clone() for name, value in self.average.state_dict().items()}
        self.done, self.best_round, self.best_loss = 0, 0, math.inf
        self.history: list[list[float]] = []  # of each round: training loss, validation loss, validation accuracy
        self.over = False

    def save(self, path: Path, plan: Plan) -> None:
        """Write a checkpoint, whole or not at all."""
        parts = {
            "plan": _told(plan),
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "best": self.best,
            "numbers": [self.done, self.best_round, self.best_loss, self.over],
            "history": self.history,
        }
        buffer = io.BytesIO()
        torch.save(parts, buffer)
        Disk().write(path, buffer.getvalue())

    def load(self, path: Path, plan: Plan) -> None:
        """Go on from a checkpoint; raise LoadFailed for one that is broken, or of another plan."""
        try:
            parts = torch.load(path, weights_only=True)
            same = parts["plan"] == _told(plan)
            self.net.load_state_dict(parts["net"])
            self.average.load_state_dict(parts["average"])
            self.optimiser.load_state_dict(parts["optimiser"])
            self.best, self.history = parts["best"], parts["history"]
            self.done, self.best_round, self.best_loss, self.over = parts["numbers"]
        except Exception as error:  # boundary: the reader of a broken file raises what it meets
            raise LoadFailed(f"{path}: no checkpoint of this training ({type(error).__name__}); remove it") from None
        if not same:
            raise LoadFailed(f"{path}: a checkpoint of another training; remove it")


def train(
    plan: Plan,
    learn: Part,
    prove: Part,
    checkpoint: Path,
    watch: Watch,
    start: State | None = None,
    save: float = SAVE_SECONDS,
) -> Run:
    """Train, going on from `checkpoint` if it is there; the best averaged weights are in `best` of what is returned."""
    torch.set_num_threads(plan.threads)
    run, clock = Run(plan, start), Clock()
    if checkpoint.exists():
        run.load(checkpoint, plan)
    how = Strange(plan.shape.side, plan.classes, plan.flips)
    saved, losses = clock.monotonic(), list[float]()
    for rows in drawn(learn.labels, plan, run.done):
        if run.over or run.done >= plan.steps:
            break
        losses.append(_step(run, plan, learn, rows, how))
        if run.done % plan.round == 0 or run.done == plan.steps:
            _look(run, plan, prove, sum(losses) / len(losses))
            losses = []
        watch(Heard(run.done, plan.steps, losses[-1] if losses else run.history[-1][0], _accuracy(run)))
        if clock.monotonic() - saved >= save:
            run.save(checkpoint, plan)
            saved = clock.monotonic()
    run.over = True
    run.save(checkpoint, plan)
    return run


def drawn(labels: NDArray[np.int64], plan: Plan, since: int) -> Iterator[NDArray[np.int64]]:
    """Give the rows of each batch from a step on. Rare labels are drawn more often than they are, by EVEN.

    Each label has its own round through its examples, so that none comes twice before all others came once.
    """
    counts = np.bincount(labels, minlength=plan.classes).astype(np.float64)
    chances = counts**EVEN / (counts**EVEN).sum()
    decks = [_deck(np.flatnonzero(labels == label), plan.seed, label) for label in range(plan.classes)]
    for step in range(plan.steps):
        chosen = np.random.default_rng([plan.seed, step, 1]).choice(plan.classes, plan.batch, p=chances)
        rows = np.array([next(decks[label]) for label in chosen], np.int64)
        if step >= since:
            yield rows


def _deck(rows: NDArray[np.int64], seed: int, label: int) -> Iterator[int]:
    """Give the rows of a label for ever, shuffled anew each time round."""
    random = np.random.default_rng([seed, label, 3])
    while True:
        yield from random.permutation(rows).tolist()


def rate_at(step: int, plan: Plan) -> float:
    """Return the learning rate: up in a line, down in half a cosine."""
    warm = max(1, round(WARM * plan.steps))
    if step < warm:
        return plan.rate * (step + 1) / warm
    through = (step - warm) / max(1, plan.steps - warm)
    return plan.rate * (LEAST_RATE + (1 - LEAST_RATE) * 0.5 * (1 + math.cos(math.pi * through)))


def logits_of(net: MobileNet, part: Part) -> Tensor:
    """Return the logits of every picture."""
    net.eval()
    with torch.no_grad():
        found = [
            net(plain(part.pixels[start : start + LOOKED]).contiguous(memory_format=torch.channels_last))
            for start in range(0, len(part.labels), LOOKED)
        ]
    return torch.cat(found)


def _step(run: Run, plan: Plan, learn: Part, rows: NDArray[np.int64], how: Strange) -> float:
    for group in run.optimiser.param_groups:
        group["lr"] = rate_at(run.done, plan)
    random = np.random.default_rng([plan.seed, run.done, 2])
    hard = run.done < EASY * plan.steps
    batch = strange(np.stack([learn.pixels[row] for row in rows]), learn.labels[rows], how, random, hard)
    torch.manual_seed(int(random.integers(1 << 62)))  # of the dropout
    run.net.train()
    logits = run.net(batch.image.contiguous(memory_format=torch.channels_last))
    loss = functional.cross_entropy(logits, batch.target)
    run.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(run.net.parameters(), CLIP)
    run.optimiser.step()
    run.done += 1
    _average(run, min(EMA, run.done / (run.done + 10)))
    return float(loss.detach())


def _average(run: Run, memory: float) -> None:
    fresh = run.net.state_dict()
    with torch.no_grad():
        for name, kept in run.average.state_dict().items():
            if kept.is_floating_point():
                kept.lerp_(fresh[name], 1 - memory)
            else:
                kept.copy_(fresh[name])


def _look(run: Run, plan: Plan, prove: Part, learned: float) -> None:
    """Judge the averaged weights on validation; keep them if they are the best, end it if that was long ago."""
    logits, truth = logits_of(run.average, prove), torch.from_numpy(prove.labels)
    loss = float(functional.cross_entropy(logits, truth))
    run.history.append([learned, loss, float((logits.argmax(1) == truth).float().mean())])
    if loss < run.best_loss:
        run.best_loss, run.best_round = loss, len(run.history)
        run.best = {name: value.clone() for name, value in run.average.state_dict().items()}
    run.over = len(run.history) - run.best_round > max(5, PATIENCE * plan.rounds)


def _accuracy(run: Run) -> float:
    return run.history[-1][2] if run.history else 0.0


def _told(plan: Plan) -> dict[str, Any]:
    return asdict(plan)
