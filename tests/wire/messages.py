"""Good messages to try, as JSON values: each is what its class writes."""

from __future__ import annotations

from typing import Any

from tests.core.values import DIGEST

FINDING: dict[str, Any] = {"label": "crack", "score": 0.5, "index": 1, "box": [1.0, 2.0, 3.0, 4.0]}
CLASS: dict[str, Any] = {"label": "good", "score": 1.0, "index": 0}
BUNDLE: dict[str, Any] = {"model": "boards", "version": 3, "digest": DIGEST}
ANSWER: dict[str, Any] = {
    **BUNDLE,
    "node": "dock-1",
    "findings": [FINDING, CLASS],
    "width": 640,
    "height": 480,
    "millis": {"total": 4.25},
    "result": "e1/7",
}
RESULT: dict[str, Any] = {
    **BUNDLE,
    "source": "a.png",
    "findings": [FINDING],
    "width": 640,
    "height": 480,
    "millis": 4.25,
}
ALARM: dict[str, Any] = {"rule": "cracks", "model": "boards", "result": 7, "text": "2 of 3"}
ENROL: dict[str, Any] = {"name": "dock-1", "group": "docks", "join_token": "j", "secret": "s"}
REPORT: dict[str, Any] = {**BUNDLE, "state": "refused", "rollout": 2, "reason": "goldens failed"}
CHECK_IN: dict[str, Any] = {"node": "dock-1", "models": [REPORT], "backlog": 5, "url": "http://x", "facts": {"cpus": 4}}
ORDERS: dict[str, Any] = {"interval": 5.0, "desired": [{**BUNDLE, "rollout": 2}]}
PUBLISH: dict[str, Any] = {"manifest": "{}", "signature": "{}"}
TO_NODE: dict[str, Any] = {"model": "boards", "version": 3, "node": "dock-1"}
TO_GROUP: dict[str, Any] = {"model": "boards", "version": 3, "group": "docks"}
ACK: dict[str, Any] = {"epoch": "e1", "high": 7}
