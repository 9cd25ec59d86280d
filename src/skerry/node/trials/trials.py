"""The trials of a node: which model has one, what became of it, and which version answers who names none."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping

from skerry.core.agreement import Terms
from skerry.core.errors import Conflict, NotFound
from skerry.core.names import MAX_NAME
from skerry.host.clock import Clock
from skerry.host.machine import Meter
from skerry.node.generation import Generation
from skerry.node.metrics import Metrics
from skerry.node.trials.trial import LIVE, Spare, Stage, Trial

log = logging.getLogger(__name__)

LABEL = "canary"  # who asks for it, where no label of that name is set, means the candidate


def check(name: str, generations: Iterable[Generation]) -> None:
    """Raise Conflict if one of them remembers."""
    if any(one.remembers for one in generations):
        raise Conflict(f"model {name}: it remembers sequences, whose requests must all see one version")


class Trials:
    """The trials of all models, the last of each, and which versions must not answer who names none."""

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self._clock, self._metrics = clock, metrics
        meter = Meter()
        self.spare = Spare(lambda: meter.look().cpu)
        self._trials: dict[str, Trial] = {}
        self._aside: dict[str, frozenset[int]] = {}
        self.changed: Callable[[str], None] = lambda _: None  # told which model's versions are to be seen anew

    def default(self, name: str, versions: Collection[int]) -> int | None:
        """Return which version answers who names none: the highest that is no candidate and was not rolled back."""
        aside = self._aside.get(name, frozenset())
        return max((one for one in versions if one not in aside), default=max(versions, default=None))

    def pair(self, name: str, versions: Mapping[int, Generation], default: int | None) -> None:
        """Versions have come or gone: run between those that are there; roll back one that cannot be tried."""
        trial = self._trials.get(name)
        if trial is None or trial.stage not in LIVE:
            return
        try:
            check(name, versions.values())
        except Conflict as error:
            self._roll_back(trial, str(error))
            return
        candidate = versions.get(trial.terms.version)
        serving = None if default is None or default == trial.terms.version else versions[default]
        trial.pair(serving, candidate)

    def held(self, name: str, default: int | None) -> frozenset[int]:
        """Return the versions that a trial needs: its two, and after one that went wrong the one that serves.

        A policy that keeps the highest version alone would else leave what was rolled back as the only one.
        """
        trial = self._trials.get(name)
        if trial is None or trial.stage is Stage.PROMOTED or default is None:
            return frozenset()
        return frozenset({default, trial.terms.version} if trial.stage in LIVE else {default})

    def labelled(self, name: str, label: str) -> int | None:
        """Return the candidate if the label is its, None if not."""
        trial = self._trials.get(name)
        return trial.terms.version if label == LABEL and trial is not None and trial.stage in LIVE else None

    def of(self, name: str) -> Trial:
        """Return the last trial of a model; raise NotFound if there was none."""
        found = self._trials.get(name)
        if found is None:
            raise NotFound(f"model {name[:MAX_NAME]}: no version of it is on trial")
        return found

    def all(self) -> list[Trial]:
        """Return the last trial of each model."""
        return [trial for _, trial in sorted(self._trials.items())]

    def begin(self, name: str, terms: Terms) -> Trial:
        """Begin a trial; raise Conflict while another runs."""
        running = self._trials.get(name)
        if running is not None and running.stage in LIVE:
            raise Conflict(f"model {name}: version {running.terms.version} is on trial already; end that first")
        found = self._trials[name] = Trial(name, terms, self._clock, self.spare, self._roll_back)
        self._aside[name] = self._aside.get(name, frozenset()) | {terms.version}
        log.info("model %s: version %d is on trial: %s", name, terms.version, terms.mode)
        self.changed(name)
        return found

    def promote(self, name: str) -> Trial:
        """Let the candidate answer who names no version; raise NotFound without a trial, Conflict if it waits."""
        trial = self.of(name)
        trial.move(Stage.PROMOTED)
        self._part(trial)
        chosen, beside = trial.terms.version, trial.serving.manifest.version if trial.serving is not None else 0
        self._aside[name] = self._aside[name] - {chosen} | ({beside} if beside > chosen else frozenset())
        log.warning("model %s: version %d is promoted", name, chosen)
        self.changed(name)
        return trial

    def end(self, name: str) -> Trial:
        """End a trial; the candidate answers no more but who names it. Raise NotFound without one."""
        trial = self.of(name)
        self._finish(trial, Stage.ENDED, "ended by request")
        return trial

    def lost(self, generation: Generation) -> bool:
        """Whether a quarantined generation was a candidate; then its trial is over."""
        trial = self._trials.get(generation.manifest.name)
        if trial is None or trial.candidate is not generation or trial.stage is not Stage.RUNNING:
            return False
        self._roll_back(trial, generation.trouble)
        return True

    def _roll_back(self, trial: Trial, why: str) -> None:
        log.error("model %s: version %d is rolled back: %s", trial.name, trial.terms.version, why)
        self._metrics.rolled_back(trial.name)
        self._finish(trial, Stage.ROLLED_BACK, why)

    def _finish(self, trial: Trial, stage: Stage, why: str) -> None:
        trial.move(stage, why)
        self._part(trial)
        self.changed(trial.name)

    @staticmethod
    def _part(trial: Trial) -> None:
        """Let the two go their own ways; what the candidate has is still answered."""
        serving = trial.serving
        trial.pair(serving, None)
        trial.serving = serving  # to be named
