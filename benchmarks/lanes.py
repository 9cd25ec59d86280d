"""The lanes: one way of asking one server, checked against the answer of this process before it is timed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from benchmarks import bodies, graphs, inside
from benchmarks.bodies import Request
from benchmarks.load import grpc_lane
from benchmarks.models import Models, image, photo
from benchmarks.names import CNN, CORES, INT8, MANY, PICTURES, TINY
from benchmarks.servers import Server
from benchmarks.stats import Round
from skerry.engine.runners.runner import Threads
from skerry.engine.session import open_session
from skerry.host import machine
from skerry.host.clock import Clock

CLOSE = 1e-4  # relative and absolute difference of answers that are the same (JSON carries shortened digits)


class Load(Protocol):
    """A load client."""

    def __call__(self, request: Request, connections: int, seconds: float) -> Round:
        """Load a server in a closed loop."""
        ...


@dataclass(frozen=True)
class Lane:
    """What is timed: a name that the targets use, how many ask at once, and one round of it."""

    name: str
    callers: int
    measure: Callable[[float], Round]


@dataclass(frozen=True)
class Up:
    """The servers that run; None for one that could not be started."""

    node: Server
    echo: Server
    grpc_echo: Server | None
    flask: Server | None


def build(up: Up, models: Models, load: Load, work: Path) -> list[Lane]:
    """Return every lane that can be measured here; raise RuntimeError for a wrong answer."""
    found = [*_tiny(up, models, load), *_grpc(up, work), *_tensors(up, models, load)]
    return [*found, *_jpegs(up, models, load), *_json()]


def _over(load: Load, request: Request, name: str, *callers: int) -> list[Lane]:
    """Return one lane for each number of connections."""
    return [Lane(f"{name} x{many}", many, partial(load, request, many)) for many in callers]


def _tiny(up: Up, models: Models, load: Load) -> list[Lane]:
    given = np.random.default_rng(1).standard_normal((1, graphs.WIDTH)).astype(np.float32)
    right = inside.session(models.file(TINY)).run(None, {"x": given})[0]
    as_json, as_binary = (make(up.node.url, TINY, "x", given) for make in (bodies.oip_json, bodies.oip_binary))
    echo = Request(f"{up.echo.url}/", as_binary.body, as_binary.headers)
    _same("tiny, JSON", bodies.numbers(as_json.ask()), right)
    _same("tiny, binary", bodies.numbers(as_binary.ask()), right)
    _same("echo", np.frombuffer(echo.ask()[0], dtype="<f4"), given)
    requests = {"echo": echo, "tiny JSON": as_json, "tiny binary": as_binary}
    if up.flask is not None:
        text = b'{"instances": ' + str(given.tolist()).encode() + b"}"
        request = Request(f"{up.flask.url}/json/tiny", text, {"Content-Type": "application/json"})
        _same("flask, JSON", np.asarray(json.loads(request.ask()[0])["predictions"]), right)
        requests["flask tiny JSON"] = request
    # What is compared stands side by side, so that the machine is in the same mood.
    return [Lane(f"{name} x{n}", n, partial(load, one, n)) for n in (1, MANY) for name, one in requests.items()]


def _grpc(up: Up, work: Path) -> list[Lane]:
    given = np.random.default_rng(1).standard_normal((1, graphs.WIDTH)).astype(np.float32)
    body = work / "grpc.body"
    body.write_bytes(bodies.infer_message(TINY, "x", given))
    found = []
    if up.grpc_echo is not None and up.grpc_echo.grpc:
        if grpc_lane.call(up.grpc_echo.grpc, bodies.ECHO, body, 0.1)[1] != body.read_bytes():
            raise RuntimeError("gRPC echo: it answers something else")
        found.append(_grpc_lane("gRPC echo", up.grpc_echo.grpc, bodies.ECHO, body))
    if up.node.grpc:
        _, reply = grpc_lane.call(up.node.grpc, bodies.INFER, body, 0.1)
        answer = bodies.numbers(bodies.oip_binary(up.node.url, TINY, "x", given).ask())
        _same("tiny, gRPC", bodies.infer_numbers(reply), answer)
        found.append(_grpc_lane("tiny gRPC", up.node.grpc, bodies.INFER, body))
    return found


def _grpc_lane(name: str, target: str, method: str, body: Path) -> Lane:
    return Lane(f"{name} x1", 1, lambda seconds: grpc_lane.call(target, method, body, seconds)[0])


def _tensors(up: Up, models: Models, load: Load) -> list[Lane]:
    given, found = image(1), []
    for name in (CNN, INT8):
        bound = inside.session(models.file(name))
        right = bound.run(None, {"image": given})[0]
        request = bodies.oip_binary(up.node.url, name, "image", given)
        _same(name, bodies.numbers(request.ask()), right)
        run = partial(bound.run, None, {"image": given})
        found.append(Lane(f"{name} in process x{CORES}", CORES, partial(inside.measure, run, CORES)))
        found += _over(load, request, f"{name} binary", MANY)
        if up.flask is not None and name == CNN:
            flask = Request(f"{up.flask.url}/binary/cnn", given.tobytes())
            _same("flask, CNN", np.frombuffer(flask.ask()[0], dtype="<f4"), right)
            found += _over(load, flask, f"flask {name}", MANY)
    return found


def _jpegs(up: Up, models: Models, load: Load) -> list[Lane]:
    data, here = photo(), machine.look()
    right = open_session(models.bundle, Threads(), here, Clock()).look(data)
    request = bodies.jpeg(up.node.url, PICTURES, data)
    _class("JPEG", bodies.best_class(request.ask()), {right.findings[0].index})
    near = {finding.index for finding in right.findings}  # other decoders differ by a level or two
    found = []
    for threads in (1, here.cpus) if here.cpus > 1 else (1,):
        call = partial(inside.classify, data, inside.session(models.file(CNN), threads))
        _class("JPEG in process", call(), near)
        named = "JPEG in process" if threads == 1 else "JPEG in process, all cores"
        found.append(Lane(f"{named} x1", 1, partial(inside.measure, call, 1)))
        if threads == 1:
            found.append(Lane(f"{named} x{CORES}", CORES, partial(inside.measure, call, CORES)))
    found += _over(load, request, "JPEG", 1, MANY)
    if up.flask is not None:
        tutorial = Request(f"{up.flask.url}/jpeg", data, {"Content-Type": "image/jpeg"})
        _class("flask, JPEG", json.loads(tutorial.ask()[0])["class"], near)
        found += _over(load, tutorial, "flask JPEG", 1, MANY)
    return found


def _json() -> list[Lane]:
    body = inside.instances(1)
    _same("instances", inside.our_json(body), inside.plain_json(body))
    calls = {"instances json.loads": inside.plain_json, "instances": inside.our_json}
    return [Lane(f"{name} x1", 1, partial(inside.measure, partial(call, body), 1)) for name, call in calls.items()]


def _same(lane: str, found: np.ndarray, right: np.ndarray) -> None:
    if found.size != right.size or not np.allclose(found.ravel(), right.ravel(), rtol=CLOSE, atol=CLOSE):
        raise RuntimeError(f"{lane}: the answer is not that of this process: {found.ravel()[:4]}, {right.ravel()[:4]}")


def _class(lane: str, found: int, right: set[int]) -> None:
    if found not in right:
        raise RuntimeError(f"{lane}: the best class is {found}; in this process it is one of {sorted(right)}")
