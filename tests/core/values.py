"""JSON values and manifests to try: what people send, and what nobody in his right mind would."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from skerry.core.errors import SkerryError

DIGEST = "sha256:" + "0123456789abcdef" * 4
OTHER = "sha256:" + "f" * 64

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
edges = [10**400, -(10**400), 2**63, -1, 0, 1, 1e308, float("nan"), float("inf"), float("-inf"), True, "", [], {}]
scalars = st.sampled_from(edges) | st.none() | st.booleans() | st.integers() | st.floats() | texts
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=12
)
finite_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
digests = st.text("0123456789abcdef", min_size=64, max_size=64).map("sha256:{}".format)
names = st.text(string.ascii_letters + string.digits, min_size=1, max_size=8)
unknown = st.dictionaries(st.text(string.ascii_lowercase, max_size=6).map("x-{}".format), finite_json, max_size=3)


def manifest_json(**change: Any) -> dict[str, Any]:
    """Return a small good manifest as JSON values; `...` as a value takes that field away."""
    value: dict[str, Any] = {
        "schema": 1,
        "name": "boards",
        "version": 3,
        "description": "finds faults in boards",
        "runtime": {"name": "onnx", "file": "model.onnx"},
        "files": {
            "model.onnx": {"sha256": DIGEST, "size": 1000},
            "goldens/0.png": {"sha256": OTHER, "size": 10},
            "goldens/0.json": {"sha256": OTHER, "size": 20},
        },
        "inputs": [{"name": "images", "dtype": "FP32", "shape": [-1, 3, 64, 64]}],
        "outputs": [{"name": "scores", "dtype": "FP32", "shape": [-1, 2]}],
        "pre": [{"step": "resize", "width": 64, "height": 64}],
        "post": [{"step": "top", "count": 1}],
        "labels": ["good", "bad"],
        "goldens": [{"input": "goldens/0.png", "answer": "goldens/0.json", "tolerance": 0.01}],
        "needs": {"memory": 100},
    }
    value |= change
    return {key: kept for key, kept in value.items() if kept is not ...}


@st.composite
def manifests(draw: st.DrawFn) -> dict[str, Any]:
    """Return a good manifest with fields at every level that this version does not know."""
    paths = sorted({"model.onnx", *draw(st.lists(names.map("goldens/{}.png".format), max_size=3))})
    files = {p: {**draw(unknown), "sha256": draw(digests), "size": draw(st.integers(0, 10**9))} for p in paths}
    spec = {"name": draw(texts), "dtype": "UINT8", "shape": draw(st.lists(st.integers(-1, 10**6), max_size=4))}
    golden = {"input": draw(st.sampled_from(paths)), "answer": paths[0], "tolerance": draw(st.floats(0, 1))}
    steps = st.lists(st.builds(lambda extra, name: {**extra, "step": name}, unknown, texts), max_size=2)
    return {
        **draw(unknown),
        **manifest_json(name=draw(names), version=draw(st.integers(1, 2**63 - 1)), description=draw(texts)),
        "runtime": {**draw(unknown), "name": draw(texts), "file": draw(st.sampled_from(paths))},
        "files": files,
        "inputs": [spec],
        "outputs": [spec],
        "pre": draw(steps),
        "post": draw(steps),
        "labels": draw(st.lists(texts, max_size=3)),
        "goldens": [{**draw(unknown), **golden}],
        "needs": draw(unknown),
    }


def twisted(draw: st.DrawFn, value: Any) -> Any:
    """Return `value` with one place in it, at any depth, replaced by an arbitrary JSON value or taken away."""
    if isinstance(value, dict) and value and draw(st.integers(0, 3)):
        key = draw(st.sampled_from(sorted(value)))
        if draw(st.integers(0, 4)) == 0:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: twisted(draw, value[key])}
    if isinstance(value, list) and value and draw(st.integers(0, 3)):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], twisted(draw, value[at]), *value[at + 1 :]]
    return draw(json_values)


@st.composite
def almost(draw: st.DrawFn, good: dict[str, Any]) -> Any:
    """Return a good message with up to three places spoiled: it gets deeper into a reader than plain noise does."""
    value: Any = good
    for _ in range(draw(st.integers(1, 3))):
        value = twisted(draw, value)
    return value


def tried(function: Callable[..., Any], *given: Any, refusing: type[SkerryError] = SkerryError) -> Any:
    """Return what the function returns, or the error of that kind that it raises; any other error passes through."""
    try:
        return function(*given)
    except refusing as error:
        return error
