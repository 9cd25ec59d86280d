"""Labels of versions, such as "stable" and "canary": a second name for a version that serves.

A label points only at a version that serves when it is moved, and all moves of one call are seen at once or not
at all: readers have the old table or the new one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from skerry.core import names
from skerry.core.errors import Invalid
from skerry.core.fields import Fields
from skerry.core.names import shown

MAX_LABELS = 100  # of one model
_LABEL = re.compile(r"[^/:\s\x00-\x1f]{1,128}")

Table = Mapping[str, Mapping[str, int]]


class Labels:
    """The labels of all models."""

    def __init__(self) -> None:
        self._table: dict[str, dict[str, int]] = {}

    def of(self, name: str) -> Mapping[str, int]:
        """Return the labels of a model."""
        return dict(self._table.get(name, {}))

    def version(self, name: str, label: str) -> int:
        """Return the version that a label points at; raise Invalid (as TensorFlow Serving) if there is none."""
        found = self._table.get(name, {}).get(label)
        if found is None:
            raise Invalid(f"Unrecognized servable version label: {label}")
        return found

    def held(self) -> dict[str, frozenset[int]]:
        """Return, for each model, the versions that a label points at."""
        return {name: frozenset(labels.values()) for name, labels in self._table.items()}

    def move(self, name: str, label: str, version: int, loaded: Collection[int]) -> None:
        """Point a label at a version, which must serve; raise Invalid otherwise, with everything as it was."""
        self.set(name, {**self.of(name), label: version}, loaded)

    def drop(self, name: str, label: str) -> None:
        """Take a label away; it need not be there."""
        self._put(name, {key: value for key, value in self.of(name).items() if key != label})

    def set(self, name: str, labels: Mapping[str, int], loaded: Collection[int]) -> None:
        """Make these all of a model's labels; a label that stays where it was need not point at a version that serves.

        Raises Invalid, with everything as it was, if one of the others points at a version that does not.
        """
        if len(labels) > MAX_LABELS:
            raise Invalid(f"labels of model {name}: expected at most {MAX_LABELS}; got {len(labels)}")
        old = self._table.get(name, {})
        for label, version in labels.items():
            _label(label)
            if version not in loaded and old.get(label) != version:
                serve = ", ".join(map(str, sorted(loaded))) or "none"
                raise Invalid(
                    f"label '{label}' of model {name}: expected a version that serves ({serve}); got {version}"
                )
        self._put(name, dict(labels))

    def _put(self, name: str, labels: dict[str, int]) -> None:
        table = {**self._table, name: labels}
        self._table = table if labels else {key: value for key, value in table.items() if key != name}


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
