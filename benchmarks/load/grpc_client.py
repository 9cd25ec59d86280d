"""A gRPC client of one connection, a program of its own: calls with ready bytes, one after the other.

    python -m benchmarks.load.grpc_client HOST:PORT /package.Service/Method BODY_FILE SECONDS

It prints one line of JSON: seconds, done, micros (counts by microsecond), and the last reply in base64.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from pathlib import Path

import grpc

from benchmarks.stats import counted

WARM = 50  # calls before anything is counted
CALL_SECONDS = 30.0


def measure(target: str, method: str, body: bytes, seconds: float) -> dict[str, object]:
    """Call until `seconds` are over."""
    spent: list[int] = []
    with grpc.insecure_channel(target) as channel:
        call = channel.unary_unary(method, None, None)
        for _ in range(WARM):
            reply = call(body, timeout=CALL_SECONDS)
        started = before = time.perf_counter_ns()
        end = started + int(seconds * 1e9)
        while before < end:
            reply = call(body, timeout=CALL_SECONDS)
            now = time.perf_counter_ns()
            spent.append(now - before)
            before = now
    return {
        "seconds": (before - started) / 1e9,
        "done": len(spent),
        "micros": counted(spent),
        "reply": base64.b64encode(reply).decode(),
    }


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2], Path(sys.argv[3]).read_bytes(), float(sys.argv[4]))))
