"""The statistics extension of the Open Inference Protocol: every field that Triton answers with.

perf_analyzer reads each of them without a look whether it is there, so a part of them is worse than none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skerry.node.metrics.reading import Reading

WORKER_MEMORY = "CPU"  # the type that Triton gives to main memory; it has the one id, 0


def statistics(readings: Sequence[Reading]) -> dict[str, Any]:
    """Return the body of GET /v2/models/stats, the same fields as ModelStatistics of the gRPC service."""
    return {"model_stats": [_model(one) for one in readings]}


def _model(one: Reading) -> dict[str, Any]:
    failures = list(one.failures.values())
    return {
        "name": one.model,
        "version": one.version,
        "last_inference": round(one.last * 1000),
        "inference_count": one.examples,
        "execution_count": one.runs,
        "inference_stats": {
            "success": _stat(one.requests, one.total.nanos),
            "fail": _stat(sum(count for count, _ in failures), sum(nanos for _, nanos in failures)),
            "queue": _stat(one.requests, one.nanos("queue")),
            "compute_input": _stat(one.requests, one.nanos("parse", "preprocess")),
            "compute_infer": _stat(one.requests, one.nanos("infer")),
            "compute_output": _stat(one.requests, one.nanos("postprocess", "encode")),
            "cache_hit": _stat(0, 0),  # there is no response cache
            "cache_miss": _stat(0, 0),
        },
        "response_stats": {},  # of models that answer one request several times; there are none
        "batch_stats": [
            {
                "batch_size": size,
                "compute_input": _stat(runs, before),
                "compute_infer": _stat(runs, infer),
                "compute_output": _stat(runs, after),
            }
            for size, (runs, before, infer, after) in one.batches.items()
        ],
        "memory_usage": [{"type": WORKER_MEMORY, "id": 0, "byte_size": one.memory}] if one.memory else [],
    }


def _stat(count: int, nanos: int) -> dict[str, int]:
    return {"count": count, "ns": nanos}
