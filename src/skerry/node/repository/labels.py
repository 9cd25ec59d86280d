"""Labels of versions, such as "stable" and "canary", as the settings have them: a second name for a version."""

from __future__ import annotations

import re
from collections.abc import Mapping

from skerry.core import names
from skerry.core.errors import Invalid
from skerry.core.fields import Fields
from skerry.core.names import shown

MAX_LABELS = 100  # of one model
_LABEL = re.compile(r"[^/:\s\x00-\x1f]{1,128}")

Table = Mapping[str, Mapping[str, int]]


def read_labels(value: object) -> Table:
    """Return the labels in a settings value such as {"boards": {"stable": 3, "canary": 4}}."""
    fields = Fields(value, "labels")
    found = {}
    for name in fields.rest():
        inner = fields.read(names.model_name(name), lambda one: Fields(one, "").rest())
        if len(inner) > MAX_LABELS:
            raise Invalid(f"labels.{name}: expected at most {MAX_LABELS}; got {len(inner)}")
        labels = Fields(inner, f"labels.{name}")
        found[name] = {_label(label): labels.read(label, _version) for label in inner}
    return found


def _version(value: object) -> int:
    if not isinstance(value, int):
        raise Invalid(f"expected a version, a whole number; got {shown(value)}")
    return names.version(value)


def _label(text: str) -> str:
    if not _LABEL.fullmatch(text):
        raise Invalid(f"label: expected 1 to 128 characters without space, '/' and ':'; got {shown(text)}")
    return text
