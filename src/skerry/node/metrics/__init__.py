"""What a node counts, and the pages that show it."""

from skerry.node.metrics.metrics import Metrics
from skerry.node.metrics.reading import MachineLoad
from skerry.node.metrics.series import PHASES, Series, Shadow

__all__ = ["PHASES", "MachineLoad", "Metrics", "Series", "Shadow"]
