"""Where things are: one table of the hub's API and of the node's, read by servers and clients alike."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True)
class Route:
    """A method and a path; `{name}` stands for one part of it."""

    method: str
    path: str

    def at(self, **parts: object) -> str:
        """Return the path with its parts filled in, percent-encoded."""
        return self.path.format(**{key: quote(str(value), safe=":") for key, value in parts.items()})


# headers
JSON_LENGTH = "Inference-Header-Content-Length"  # Open Inference: bytes of JSON in front of binary tensors

# hub, called by nodes (node token; enrolling: join token)
ENROL = Route("POST", "/api/v1/nodes/enrol")
CHECK_IN = Route("POST", "/api/v1/nodes/check-in")
UPLOAD = Route("POST", "/api/v1/results")
# hub, called by nodes and people
MANIFEST = Route("GET", "/api/v1/bundles/{digest}/manifest")
SIGNATURE = Route("GET", "/api/v1/bundles/{digest}/signature")
BLOB = Route("GET", "/api/v1/blobs/{digest}")
# hub, called by people (their token)
PUT_BLOB = Route("PUT", "/api/v1/blobs/{digest}")
PUBLISH = Route("POST", "/api/v1/models/{model}/versions")
MODELS = Route("GET", "/api/v1/models")
MODEL = Route("GET", "/api/v1/models/{model}")
NODES = Route("GET", "/api/v1/nodes")
ROLL_OUT = Route("POST", "/api/v1/rollouts")
ROLLOUTS = Route("GET", "/api/v1/rollouts")
ROLLOUT = Route("GET", "/api/v1/rollouts/{rollout}")
CANCEL = Route("POST", "/api/v1/rollouts/{rollout}/cancel")
RESULTS = Route("GET", "/api/v1/results")
ALARMS = Route("GET", "/api/v1/alarms")
EVENTS = Route("GET", "/api/v1/events")
JOIN_TOKEN = Route("POST", "/api/v1/join-tokens")
# hub and node, called by anyone
HEALTH = Route("GET", "/health")
# node
READY = Route("GET", "/ready")
METRICS = Route("GET", "/metrics")
PREDICT = Route("POST", "/predict")
