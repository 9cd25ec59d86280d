"""Why a field is refused, where several are refused for the same reason."""

from __future__ import annotations

GPU = "it is for GPUs; leave it out"
TENSORRT = "it is for TensorRT; leave it out"
RAGGED = "requests of different shapes are never joined; leave it out"
SPEED = "it changes how fast answers come, not what they are; passed over"
