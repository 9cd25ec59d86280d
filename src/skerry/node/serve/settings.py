"""Settings that clients may read and change while the node serves: Triton's trace and logging extensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skerry.core import names
from skerry.core.errors import Conflict, Invalid
from skerry.core.fields import Fields, parse
from skerry.core.names import shown
from skerry.node.models import Models
from skerry.node.serve.admin import Admin
from skerry.node.serve.cold import MAX_BODY, Request, Response, as_json
from skerry.node.serve.logs import Value
from skerry.node.serve.site import Route
from skerry.node.trace import Sampling

MODE = "opentelemetry"
MAX_NUMBER = (1 << 31) - 1
FIELDS = {"trace_level": "on", "trace_rate": "every", "trace_count": "left"}  # of a Sampling
REFUSED = {
    "trace_file": "traces go to the collector that the setting 'traces' names, not to files",
    "log_frequency": "traces go to a collector every 2 s, not to files",
}

Words = Mapping[str, Sequence[str]]  # a trace setting has several words; none: take it away


class Settings:
    """What both protocols say of trace and log settings."""

    def __init__(self, models: Models, admin: Admin) -> None:
        self._models = models
        self._admin = admin

    def routes(self) -> list[Route]:
        """Return where they are."""
        found = [Route("GET", "/v2/logging", self.get_log), Route("POST", "/v2/logging", self.set_log)]
        for base in ("/v2", "/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            path = f"{base}/trace/setting"
            found += [Route("GET", path, self.get_trace), Route("POST", path, self.set_trace)]
        return found

    def log(self, changes: Mapping[str, object]) -> dict[str, Value]:
        """Change log settings, if there are changes; return all."""
        if changes:
            self._admin.check_controlled()
            self._admin.logs.change(changes)
        return self._admin.logs.settings()

    def trace(self, model: str, version: int | None, changes: Words) -> dict[str, list[str]]:
        """Change trace settings of a model, "" for all, if there are changes; return all of them."""
        if model:
            self._models.live(model, version)
        traces = self._admin.traces
        if changes:
            self._admin.check_controlled()
            found = _changes(changes)
            if traces is None:
                raise Conflict(f"{next(iter(changes))}: this node has no collector to tell; see its setting 'traces'")
            traces.change(model, found)
        return _told(Sampling(on=False) if traces is None else traces.sampling(model))

    def get_log(self, _: Request) -> Response:
        """Every log setting."""
        return as_json(self.log({}))

    def set_log(self, request: Request) -> Response:
        """Change some; return all. Body: the settings by name."""
        return as_json(self.log(_asked(request)))

    def get_trace(self, request: Request) -> Response:
        """Every trace setting, of a model or of all."""
        return self._trace(request, {})

    def set_trace(self, request: Request) -> Response:
        """Change some; return all. Body: the settings by name, each a text or a list of them; null takes it away."""
        return self._trace(request, {name: _words(name, value) for name, value in _asked(request).items()})

    def _trace(self, request: Request, changes: Words) -> Response:
        version = request.parts.get("version")
        number = None if version is None else names.version(version)
        found = self.trace(request.parts.get("model", ""), number, changes)
        return as_json({name: words if name == "trace_level" else words[0] for name, words in found.items()})


def _asked(request: Request) -> dict[str, Any]:
    return Fields(parse(request.body, "settings", MAX_BODY), "").rest()


def _words(name: str, value: object) -> list[str]:
    found: list[Any] = [] if value is None else value if isinstance(value, list) else [value]
    for one in found:
        if not isinstance(one, str):
            raise Invalid(f"{name[: names.MAX_NAME]}: expected a text, or a list of them; got {shown(value)}")
    return found


def _told(sampling: Sampling) -> dict[str, list[str]]:
    return {
        "trace_level": ["TIMESTAMPS" if sampling.on else "OFF"],
        "trace_rate": [str(sampling.every)],
        "trace_count": [str(sampling.left)],
        "trace_mode": [MODE],
    }


def _changes(changes: Words) -> dict[str, bool | int | None]:
    """Return fields of a Sampling; raise Invalid naming the first setting that cannot be."""
    found: dict[str, bool | int | None] = {}
    for name, words in changes.items():
        if name in REFUSED:
            raise Invalid(f"{name}: {REFUSED[name]}")
        if name == "trace_mode":
            if not set(words) <= {MODE}:
                raise Invalid(f"trace_mode: this node tells in {MODE} alone; got {shown(list(words))}")
        elif name not in FIELDS:
            raise Invalid(f"{name[: names.MAX_NAME]}: unknown setting; expected one of {', '.join(FIELDS)}")
        elif not words:
            found[FIELDS[name]] = None
        elif name == "trace_level":
            found["on"] = _level(words)
        else:
            found[FIELDS[name]] = _number(name, words, -1 if name == "trace_count" else 0)
    return found


def _level(words: Sequence[str]) -> bool:
    if "TENSORS" in words:
        raise Invalid("trace_level: TENSORS: the values of tensors are not told; expected TIMESTAMPS or OFF")
    if list(words) not in (["TIMESTAMPS"], ["OFF"]):
        raise Invalid(f"trace_level: expected TIMESTAMPS or OFF; got {shown(list(words))}")
    return words[0] == "TIMESTAMPS"


def _number(name: str, words: Sequence[str], least: int) -> int:
    text = words[0] if len(words) == 1 else ""
    digits = text.removeprefix("-")
    number = int(text) if digits.isascii() and digits.isdigit() and len(text) <= 11 else None
    if number is None or not least <= number <= MAX_NUMBER:
        raise Invalid(f"{name}: expected a whole number from {least} to {MAX_NUMBER}; got {shown(list(words))}")
    return number
