"""Lines for a shell that ask this very node, one for each protocol and form of body. Each works as it is printed."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from skerry.core.tensor import DType, Spec
from skerry.node.generation import Generation
from skerry.node.serve.docs import sample
from skerry.wire.routes import JSON_LENGTH

JSON = "-H 'Content-Type: application/json'"


@dataclass(frozen=True)
class Line:
    """What it does, in a few words, and the line."""

    title: str
    command: str


def lines(live: Generation, url: str, grpc: str = "") -> list[Line]:
    """Return the lines for a model on the node at `url`; `grpc` is HOST:PORT of its gRPC server, "" if there is none.

    Those of images follow one that makes an image, and use its file.
    """
    kind = sample.takes(live.manifest)
    found = [*_encoded(live, kind, url)] if kind else []
    found += [*_infer(live, url), *_predict(live, url)]
    return [*found, *(_calls(live, grpc) if grpc else [])]


def _encoded(live: Generation, kind: str, url: str) -> Iterator[Line]:
    name = quote(live.manifest.name)
    infer, findings = f"{url}/v2/models/{name}/infer", f"'{url}/predict?model={name}'"
    file, mime = {
        "image": ("example.png", "image/png"),
        "audio": ("example.wav", "audio/wav"),
        "raw": ("example.raw", "application/octet-stream"),
    }[kind]
    if kind == "image":
        yield Line("An image to try with", f"printf %s {sample.base64_of(sample.picture())} | base64 -d > {file}")
    elif kind == "audio":
        head = f"printf %s {sample.base64_of(sample.silence_head())} | base64 -d"
        yield Line("A second of silence to try with", f"{{ {head}; head -c {2 * sample.RATE} /dev/zero; }} > {file}")
    else:
        yield Line("A frame to try with", f"head -c {sample.frame_size(live.manifest)} /dev/zero > {file}")
    send = f"curl -H 'Content-Type: {mime}' --data-binary @{file}"
    if live.manifest.post:
        yield Line("Findings", f"{send} {findings}")
        if kind == "image":
            yield Line("Findings, sent as a form", f"curl -F image=@{file} {findings}")
    yield Line("Open Inference, the file as it is", f"{send} {infer}")
    if kind == "image":
        body = """printf '{"instances": [{"b64": "%s"}]}' "$(base64 < example.png | tr -d '\\n')\""""
        yield Line("TensorFlow Serving, the file in JSON", f"{body} | curl {JSON} -d @- {url}/v1/models/{name}:predict")


def _infer(live: Generation, url: str) -> Iterator[Line]:
    target = f"{url}/v2/models/{quote(live.manifest.name)}/infer"
    inputs = sample.inputs(live)
    if sample.jsonable(live):
        yield Line("Open Inference, JSON", _json(live, sample.parameters(live), target))
        if live.remembers:
            for which in ("start", "end"):
                parameters = {"parameters": {"sequence_id": 1, f"sequence_{which}": True}}
                yield Line(f"Open Inference, the {which} of a sequence", _json(live, parameters, target))
    if any(spec.dtype is DType.BYTES for spec in inputs):
        return
    answer = "" if sample.jsonable(live) else " -o answer.bin"
    yield Line("Open Inference, binary tensors behind JSON", _binary(live, target) + answer)
    if len(inputs) == 1 and not sample.parameters(live):
        zeros = f"head -c {_bytes(inputs[0])} /dev/zero"
        if _alone(live.inputs[0], inputs[0]) and sample.takes(live.manifest) != "raw":
            form = f"-H '{JSON_LENGTH}: 0' -H 'Content-Type: application/octet-stream'"
            yield Line(
                "Open Inference, the bytes of the tensor alone",
                f"{zeros} | curl {form} --data-binary @- -o answer.bin {target}",
            )
        if inputs[0].dtype is not DType.BF16:
            head = f"printf %s {sample.base64_of(sample.npy_head(inputs[0]))} | base64 -d"
            form = "-H 'Content-Type: application/x-npy' --data-binary @-"
            yield Line("NumPy's file format", f"{{ {head}; {zeros}; }} | curl {form} {target}")


def _alone(spec: Spec, filled: Spec) -> bool:
    """Whether bytes alone say the shape: a first free dimension is then 1, and at most one other is free."""
    return (spec.shape[:1] != (-1,) or filled.shape[0] == 1) and sum(size == -1 for size in spec.shape[1:]) <= 1


def _json(live: Generation, parameters: Mapping[str, Any], target: str) -> str:
    body, send = sample.infer_body(live), f"curl {JSON}"
    if body is not None:
        return f"{send} -d {shlex.quote(sample.text_of({**body, **parameters}))} {target}"
    parts = [f"{{**{json.dumps(sample.head(s))}, {_filled(s)}}}" for s in sample.inputs(live)]
    more = f", **{parameters!r}".replace("'", '"') if parameters else ""
    code = f'import json; print(json.dumps({{"inputs": [{", ".join(parts)}]{more}}}))'
    return f"python3 -c {shlex.quote(code)} | {send} -d @- {target}"


def _binary(live: Generation, target: str) -> str:
    inputs = sample.inputs(live)
    body = {"inputs": [{**sample.head(s), "parameters": {"binary_data_size": _bytes(s)}} for s in inputs]}
    given = dict(sample.parameters(live).get("parameters", {}))
    if not sample.jsonable(live):
        given["binary_data_output"] = True
    text = sample.text_of({**({"parameters": given} if given else {}), **body})
    zeros = f"head -c {sum(map(_bytes, inputs))} /dev/zero"
    form = f"-H '{JSON_LENGTH}: {len(text)}' -H 'Content-Type: application/octet-stream' --data-binary @-"
    return f"{{ printf %s {shlex.quote(text)}; {zeros}; }} | curl {form} {target}"


def _predict(live: Generation, url: str) -> Iterator[Line]:
    if not sample.servable(live):
        return
    target = f"{url}/v1/models/{quote(live.manifest.name)}:predict"
    title, body = "TensorFlow Serving, JSON", sample.predict_body(live)
    if body is not None:
        yield Line(title, f"curl {JSON} -d {shlex.quote(sample.text_of(body))} {target}")
        return
    rows = sample.by_rows(live)
    made = {spec.name: f"z({list(spec.shape[1 if rows else 0 :])}, {_literal(spec)})" for spec in sample.inputs(live)}
    named = ", ".join(f"{json.dumps(name)}: {values}" for name, values in made.items())
    whole = next(iter(made.values())) if len(made) == 1 else f"{{{named}}}"
    whole = f'"instances": [{whole}]' if rows else f'"inputs": {whole}'
    code = f"import json; z = lambda s, v: [z(s[1:], v)] * s[0] if s else v; print(json.dumps({{{whole}}}))"
    yield Line(title, f"python3 -c {shlex.quote(code)} | curl {JSON} -d @- {target}")


def _calls(live: Generation, grpc: str) -> Iterator[Line]:
    name, call = live.manifest.name, f"{grpc} inference.GRPCInferenceService"
    asked = shlex.quote(sample.text_of({"name": name}))
    yield Line("gRPC, what the model takes", f"grpcurl -plaintext -d {asked} {call}/ModelMetadata")
    inputs = sample.inputs(live)
    if not sample.few(inputs) or any(spec.dtype is DType.BYTES for spec in inputs) or sample.parameters(live):
        return
    raw = [sample.base64_of(bytes(_bytes(spec))) for spec in inputs]
    body = {"model_name": name, "inputs": [sample.head(spec) for spec in inputs], "raw_input_contents": raw}
    text = shlex.quote(sample.text_of(body))
    yield Line("gRPC, the same as bytes", f"grpcurl -plaintext -d {text} {call}/ModelInfer")


def _bytes(spec: Spec) -> int:
    return sample.count_of(spec) * spec.dtype.size


def _filled(spec: Spec) -> str:
    return f'"data": [{_literal(spec)}] * {sample.count_of(spec)}'


def _literal(spec: Spec) -> str:
    """Return a zero in Python, without single quotes."""
    return str(sample.zero(spec)) if spec.dtype is not DType.BYTES else '"0"'
