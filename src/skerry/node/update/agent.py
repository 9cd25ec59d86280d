"""The agent: the loop that obeys the hub. The decider of three: it knows what is normal and what to refuse.

One tick: check in with the report, plan from held to desired, do the steps, remember refusals. A failed
network or a full disk is tried again later; what fails trust or goldens is refused for that rollout.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from typing import Any

from skerry.core.errors import Invalid, ModelError, NotAllowed, SkerryError, TrustError, wish
from skerry.core.names import NodeName
from skerry.core.plan import PlanStep, plan
from skerry.core.retry import Backoff, jittered
from skerry.node.hub import Hub
from skerry.node.metrics import Metrics
from skerry.node.models import Models
from skerry.node.update.apply import Installer
from skerry.wire import checkin
from skerry.wire.checkin import CheckIn, ModelReport, Orders

log = logging.getLogger(__name__)

MAX_REASON = 2000  # characters of a reason that go to the hub


class Agent:
    """Keeps this node as the hub desires it."""

    def __init__(
        self,
        name: NodeName,
        hub: Hub,
        installer: Installer,
        models: Models,
        metrics: Metrics,
        facts: Callable[[], tuple[int, str, Mapping[str, Any]]],
        hub_is_back: Callable[[], None],
    ) -> None:
        """`facts` gives the journal's backlog, the URL served on, and what else the console shows.

        `hub_is_back` is called when the hub answers after it did not.
        """
        self._name = name
        self._hub = hub
        self._installer = installer
        self._models = models
        self._metrics = metrics
        self._facts = facts
        self._hub_is_back = hub_is_back
        self._backoff = Backoff()
        self._failures = 0
        self._enrolled = False
        self._trouble = ""

    def tick(self) -> float:
        """Do one round; return the seconds until the next."""
        self._installer.start()  # before the hub is asked: what was committed serves without it
        try:
            if not self._enrolled:
                self._hub.join()
                self._enrolled = True
            orders = self._check_in()
            self._expect(orders)
            steps = plan(orders.desired, self._installer.held())
            if steps:
                self._apply(steps)
                orders = self._check_in()  # the hub should know at once, not an interval later
            else:
                self._trouble = ""  # what it was about is done, or no longer wanted
                self._installer.tidy()
            self._expect(orders)
        except NotAllowed as error:
            self._enrolled = False  # the hub may have been restored without us
            return self._later(error)
        except SkerryError as error:
            return self._later(error)
        if self._failures:
            log.warning("agent: the hub answers again after %d tries", self._failures)
            self._hub_is_back()
        self._failures = 0
        return jittered(orders.interval, random.random())  # noqa: S311 (jitter)

    def _expect(self, orders: Orders) -> None:
        self._models.expect_only({*self._models.names(), *(want.model for want in orders.desired)})

    def _later(self, error: SkerryError) -> float:
        self._failures += 1
        if self._failures == 1:  # once, not at every try: the hub may be away for days
            log.warning("agent: %s; this node goes on as it is and asks again", error)
        return self._backoff.delay(self._failures, random.random(), wish(error))  # noqa: S311 (jitter)

    def _check_in(self) -> Orders:
        backlog, url, facts = self._facts()
        report = CheckIn(
            node=self._name,
            models=self._report(),
            backlog=backlog,
            url=url,
            facts={**facts, "trouble": self._trouble, "not_ready": self._models.troubles()},
        )
        return self._hub.check_in(report)

    def _report(self) -> tuple[ModelReport, ...]:
        table = self._installer.slots.table
        serving = set(self._models.names())
        entries = [
            ModelReport(model, s.committed.version, s.committed.digest, checkin.SERVING, s.committed.rollout)
            for model, s in table.slots.items()
            if s.committed is not None and model in serving
        ]
        refused = [
            ModelReport(r.model, r.bundle.version, r.bundle.digest, checkin.REFUSED, r.bundle.rollout, r.reason)
            for r in table.refused
        ]
        return (*entries, *refused)

    def _apply(self, steps: tuple[PlanStep, ...]) -> None:
        self._trouble = ""
        given_up = set()  # models whose fetch failed: their try would find nothing
        for step in steps:
            if step.model in given_up:
                continue
            try:
                if not self._do(step):
                    given_up.add(step.model)
            except (OSError, SkerryError) as error:  # a full disk cannot even keep a refusal
                given_up.add(step.model)
                self._trouble = f"{step.do.value} {step.model or ''}: {error}"[:MAX_REASON]
                log.warning("agent: %s; it will be tried again", self._trouble)

        if not self._trouble:
            self._installer.tidy()

    def _do(self, step: PlanStep) -> bool:
        """Do one step; return False if its bundle was refused."""
        try:
            self._installer.do(step)
        except (TrustError, ModelError, Invalid) as error:
            self._refuse(step, error)
            return False
        return True

    def _refuse(self, step: PlanStep, error: SkerryError) -> None:
        if step.wanted is None:
            raise error
        reason = f"{type(error).__name__}: {error}"[:MAX_REASON]
        log.error("agent: refused %s version %d: %s", step.model, step.wanted.version, reason)
        self._metrics.refused(type(error).__name__)
        self._installer.slots.refuse(step.wanted, reason)
        self._models.expect(step.wanted.model, reason)
