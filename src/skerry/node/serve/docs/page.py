"""The pages: what the node serves, and one page for each model. Every text from outside goes through `escape`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from skerry.core.tensor import DType, Spec
from skerry.core.version import VERSION
from skerry.node.generation import Generation
from skerry.node.serve.docs import sample
from skerry.node.serve.docs.lines import Line
from skerry.node.serve.docs.look import SCRIPT, STYLE

MAX_LABELS = 500  # shown; a page of 20,000 is of no use to anybody
PHASES = ("parse", "queue", "preprocess", "infer", "postprocess", "encode", "total")
COUNTS = (("requests", "requests"), ("p50_ms", "p50, ms"), ("p99_ms", "p99, ms"))
LINKS = (
    ("/openapi/oip.json", "OpenAPI: Open Inference"),
    ("/openapi/tfs.json", "OpenAPI: TensorFlow Serving"),
    ("/openapi/node.json", "OpenAPI: the node"),
    ("/stats?as=text", "statistics"),
    ("/metrics", "metrics"),
    ("/ready", "readiness"),
)
REMEMBERS = (
    "It remembers: a request with a <code>sequence_id</code> sees what came before it in its sequence, which begins "
    "with <code>sequence_start</code> and ends with <code>sequence_end</code>."
)
Stats = Mapping[str, Any]


def index(node: str, generations: Sequence[Generation], stats: Mapping[tuple[str, str], Stats], waiting: Stats) -> str:
    """Return the page of all models; `waiting` are those that should serve and do not, and why."""
    rows = [
        [
            _link(one.manifest.name, one.manifest.version, escape(one.manifest.name)),
            str(one.manifest.version),
            escape(one.state.value),
            escape(one.platform),
            escape(_takes(one)),
            *_cells(stats.get((one.manifest.name, str(one.manifest.version)), {})),
        ]
        for one in generations
    ]
    heads = ("model", "version", "state", "runs in", "takes", *[title for _, title in COUNTS])
    troubles = "".join(f"<li><b>{escape(name)}</b>: {escape(str(why))}</li>" for name, why in waiting.items())
    links = "".join(f'<li><a href="{path}">{title}</a></li>' for path, title in LINKS)
    return _page(
        f"Models of {node}",
        f"<p class=dim>Skerry {VERSION}, node <b>{escape(node)}</b></p>"
        + (_table("Models", heads, rows, 5) if rows else "<p>No model serves yet.</p>")
        + (f"<h2>Not available</h2><ul>{troubles}</ul>" if troubles else "")
        + f"<h2>More</h2><ul>{links}</ul>",
    )


def model(live: Generation, versions: Sequence[int], stats: Stats, lines: Iterable[Line]) -> str:
    """Return the page of one version of a model."""
    manifest = live.manifest
    name = manifest.name
    parts = [
        f'<nav><a href="/docs">All models</a>{_others(live, versions)}</nav>',
        f"<p>{escape(manifest.description)}</p>" if manifest.description else "",
        f"<p class=dim>{escape(live.platform)}, {escape(live.state.value)}<br><code>{escape(live.digest)}</code></p>",
        "<h2>Inputs</h2>" + _specs("Inputs", live.inputs),
        "<h2>Outputs</h2>" + _specs("Outputs", live.outputs),
        _steps(live),
        _labels(manifest.labels),
        _goldens(live),
        f"<h2>Sequences</h2><p>{REMEMBERS}</p>" if live.remembers else "",
        "<h2>Try it</h2>" + _forms(live),
        "<h2>From a shell</h2>" + "".join(map(_line, lines)),
        "<h2>Latency</h2>" + _latency(live, stats),
    ]
    return _page(f"{name}, version {manifest.version}", "".join(parts))


def _page(title: str, content: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{content}</main><script>{SCRIPT}</script></body></html>"
    )


def _table(what: str, heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 99) -> str:
    """Return a table; columns from `numbers` on hold numbers. The cells are HTML."""

    def kind(place: int) -> str:
        return " class=number" if place >= numbers else ""

    top = "".join(f"<th scope=col{kind(i)}>{escape(head)}</th>" for i, head in enumerate(heads))
    body = "".join("<tr>" + "".join(f"<td{kind(i)}>{c}</td>" for i, c in enumerate(row)) + "</tr>" for row in rows)
    return (
        f'<div class=wide role=region tabindex=0 aria-label="{escape(what)}"><table><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _specs(what: str, specs: Sequence[Spec]) -> str:
    rows = [[_code(spec.name), spec.dtype.value, escape(str(list(spec.shape)).replace("-1", "any"))] for spec in specs]
    return _table(what, ("name", "datatype", "shape"), rows)


def _code(text: str) -> str:
    """Return a name that may break anywhere: it is as wide as a small screen lets it be."""
    return f"<code>{escape(text)}</code>"


def _others(live: Generation, versions: Sequence[int]) -> str:
    name, own = live.manifest.name, live.manifest.version
    return "".join(f" · {_link(name, one, f'version {one}')}" for one in versions if one != own)


def _link(name: str, version: int, text: str) -> str:
    return f'<a href="/docs/{quote(name)}?version={version}">{text}</a>'


def _takes(live: Generation) -> str:
    kind = sample.takes(live.manifest)
    if kind:
        return {"image": "an image", "audio": "a sound", "raw": "a raw frame"}[kind]
    return ", ".join(f"{spec.name} {spec.dtype.value}" for spec in live.inputs)


def _steps(live: Generation) -> str:
    manifest = live.manifest
    if not manifest.pre:
        return ""
    found = [*manifest.pre, None, *manifest.post]
    rows = "".join(
        "<li><b>the model</b></li>" if entry is None else f"<li>{escape(entry.step)}{_options(entry.options)}</li>"
        for entry in found
    )
    return f"<h2>Steps</h2><ol>{rows}</ol>"


def _options(options: Mapping[str, Any]) -> str:
    return f" <code>{escape(json.dumps(dict(options)))}</code>" if options else ""


def _labels(labels: Sequence[str]) -> str:
    if not labels:
        return ""
    shown = "".join(f"<li>{index} {escape(label)}</li>" for index, label in enumerate(labels[:MAX_LABELS]))
    more = f"<p>and {len(labels) - MAX_LABELS} more</p>" if len(labels) > MAX_LABELS else ""
    opened = " open" if len(labels) <= 12 else ""
    return (
        f"<h2>Labels</h2><details{opened}><summary>{len(labels)} label{'s' if len(labels) > 1 else ''}</summary>"
        f"<ul class=tags>{shown}</ul>{more}</details>"
    )


def _goldens(live: Generation) -> str:
    rows = [[_code(one.input), _code(one.answer), str(one.tolerance)] for one in live.manifest.goldens]
    if not rows:
        return ""
    text = f"<p>{live.hello.goldens} passed when it was loaded; they are asked again while it serves.</p>"
    return "<h2>Goldens</h2>" + text + _table("Goldens", ("input", "answer", "tolerance"), rows)


def _forms(live: Generation) -> str:
    name, kind = quote(live.manifest.name), sample.takes(live.manifest)
    found = ""
    if kind:
        url = f"/predict?model={name}" if live.manifest.post else f"/v2/models/{name}/infer"
        accept, sent = {
            "image": ("image/jpeg,image/png,image/webp", ""),
            "audio": ("audio/*", "audio/wav"),
            "raw": ("", "application/octet-stream"),
        }[kind]
        found += (
            f'<form data-url="{escape(url)}" data-kind="{sent}"><label for=file>{escape(_takes(live).capitalize())}'
            f'</label><input id=file type=file accept="{accept}"> <button>Ask</button>'
            "<output hidden role=status></output><canvas hidden></canvas></form>"
        )
    body = sample.infer_body(live)
    if body is not None:
        text = escape(json.dumps(body).replace('{"name"', '\n {"name"'))
        found += (
            f'<form data-url="/v2/models/{name}/infer"><label for=body>JSON of the Open Inference Protocol</label>'
            f"<textarea id=body spellcheck=false>{text}</textarea><button>Ask</button>"
            "<output hidden role=status></output></form>"
        )
    elif not kind:
        found += (
            f'<form data-url="/v2/models/{name}/infer" data-kind="application/x-npy"><label for=npy>An .npy file'
            " (these tensors are too large to type)</label><input id=npy type=file accept='.npy'> <button>Ask</button>"
            "<output hidden role=status></output></form>"
            if len(live.inputs) == 1 and live.inputs[0].dtype not in (DType.BF16, DType.BYTES)
            else "<p>Its tensors are too large to type; see below.</p>"
        )
    return found + "<noscript><p>To try it here the page needs JavaScript; the lines below need none.</p></noscript>"


def _line(line: Line) -> str:
    return (
        f"<h3>{escape(line.title)}</h3><div class=line><pre>{escape(line.command)}</pre>"
        "<button type=button data-copy hidden>Copy</button></div>"
    )


def _latency(live: Generation, stats: Stats) -> str:
    means = stats.get("mean_ms", {})
    cells = [(name, title, stats.get(name)) for name, title in COUNTS]
    cells += [(phase, f"{phase}, mean ms", means.get(phase)) for phase in PHASES]
    rows = "".join(
        f'<tr><th scope=row>{title}</th><td class=number data-value="{name}">{_number(value)}</td></tr>'
        for name, title, value in cells
    )
    added = stats.get("overhead")
    return (
        "<p class=dim>p50 and p99 are of the latest answers.</p>"
        f'<table class=narrow data-model="{escape(live.manifest.name)}" data-version="{live.manifest.version}">'
        f"<tbody>{rows}</tbody></table>" + (f"<p>Serving {escape(added['text'])}.</p>" if added else "")
    )


def _cells(stats: Stats) -> list[str]:
    return [_number(stats.get(name)) for name, _ in COUNTS]


def _number(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else escape(str(value))
