"""A model's config.pbtxt, as Triton has it: its text to typed options, and options to the JSON that clients ask for."""

from skerry.wire.config.agree import agree
from skerry.wire.config.asked import asked_of, unused, wanted
from skerry.wire.config.options import (
    Batching,
    Control,
    First,
    Options,
    Policy,
    Port,
    Queueing,
    Reshape,
    Sequences,
    State,
    WarmInput,
    Warmup,
    Which,
)
from skerry.wire.config.read import read_config
from skerry.wire.config.show import config_json

__all__ = [
    "Batching",
    "Control",
    "First",
    "Options",
    "Policy",
    "Port",
    "Queueing",
    "Reshape",
    "Sequences",
    "State",
    "WarmInput",
    "Warmup",
    "Which",
    "agree",
    "asked_of",
    "config_json",
    "read_config",
    "unused",
    "wanted",
]
