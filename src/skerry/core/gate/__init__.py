"""Gates: whether what was measured proves what was asked, each verdict with the statistic that it stands on.

`interval` holds the bounds of one measured share or rate, `paired` what two models did on the same examples, `verdict`
the question and its answer. Pure arithmetic; what needs chance (the bootstrap) is the forge's and comes as an interval.
"""

from skerry.core.gate.interval import LEVEL, Interval, poisson_bound, poisson_floor, wilson
from skerry.core.gate.paired import Paired, loss_interval, mcnemar, worse
from skerry.core.gate.verdict import Outcome, Verdict, accuracy_gate, alarm_gate, limit_gate, loss_gate, value_gate

__all__ = [
    "LEVEL",
    "Interval",
    "Outcome",
    "Paired",
    "Verdict",
    "accuracy_gate",
    "alarm_gate",
    "limit_gate",
    "loss_gate",
    "loss_interval",
    "mcnemar",
    "poisson_bound",
    "poisson_floor",
    "value_gate",
    "wilson",
    "worse",
]
