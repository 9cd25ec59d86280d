"""Settings from TOML and the environment: the only file that reads either.

Each part has one frozen dataclass of settings; `load` fills it from a table of a TOML file, then from
variables `SKERRY_<PART>_<FIELD>`, then from what the command line gave. Secrets in it hide in `repr`.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from skerry.core.errors import Invalid
from skerry.core.fields import MAX_REAL
from skerry.core.names import shown
from skerry.host.files import read

S = TypeVar("S")

MAX_TOML = 1 << 20  # bytes


def load(kind: type[S], part: str, file: Path | None, given: Mapping[str, Any], environ: Mapping[str, str]) -> S:
    """Return settings of a part; later sources win: defaults, `[part]` of the file, environment, `given`.

    Raises Invalid naming the source and the field for one that is unknown or of the wrong type.
    """
    hints = typing.get_type_hints(kind)
    known = {f.name: hints[f.name] for f in dataclasses.fields(typing.cast("Any", kind))}
    values: dict[str, Any] = {}
    for name, value in (_table(file, part) if file else {}).items():
        if name not in known:
            raise Invalid(f"{file}: [{part}] has no setting '{name}'; it has {', '.join(known)}")
        values[name] = _fit(value, known[name], f"{file}: [{part}] {name}")
    for name, hint in known.items():
        variable = f"SKERRY_{part}_{name}".upper()
        if variable in environ:
            values[name] = _from_text(environ[variable], hint, variable)
    values |= {name: value for name, value in given.items() if value is not None}
    for needed in dataclasses.fields(typing.cast("Any", kind)):
        if needed.name not in values and needed.default is needed.default_factory is dataclasses.MISSING:
            variable = f"SKERRY_{part}_{needed.name}".upper()
            raise Invalid(f"settings: {needed.name} is missing; put it in [{part}] of {file or 'a file'} or {variable}")
    return kind(**values)


def environment() -> Mapping[str, str]:
    """Return the environment as it is now."""
    return dict(os.environ)


def forbid_telemetry() -> None:
    """Keep libraries from phoning home: ONNX Runtime 1.29+ uploads telemetry unless told not to before its import."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def _table(file: Path, part: str) -> dict[str, Any]:
    try:
        data = read(file, MAX_TOML)
    except OSError as error:  # a folder, or a file that this user may not read
        raise Invalid(f"settings: {file}: {error.strerror}") from None
    if data is None:
        raise Invalid(f"settings: no file {file}")
    try:
        table = tomllib.loads(data.decode("utf-8")).get(part, {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{file}: {error}") from None
    if not isinstance(table, dict):
        raise Invalid(f"{file}: expected a table [{part}]; got {shown(table)}")
    return table


def _from_text(text: str, hint: Any, where: str) -> Any:
    plain = _plain(hint)
    try:
        if plain is bool:
            return {"1": True, "true": True, "0": False, "false": False}[text.lower()]
        if plain in (int, float):
            return plain(text)
    except (KeyError, ValueError):
        raise Invalid(f"{where}: expected {plain.__name__}; got {shown(text)}") from None
    if typing.get_origin(plain) is tuple:
        return tuple(_from_text(t, typing.get_args(plain)[0], where) for t in text.split(os.pathsep) if t)
    return _fit(text, hint, where)


def _fit(value: Any, hint: Any, where: str) -> Any:
    plain = _plain(hint)
    if typing.get_origin(plain) is tuple and isinstance(value, list):
        return tuple(_fit(v, typing.get_args(plain)[0], where) for v in value)
    if plain is Path and isinstance(value, str):
        return Path(value)
    if plain is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_REAL:
        return float(value)
    if hasattr(plain, "read") and isinstance(value, dict):
        try:
            return plain.read(value)
        except Invalid as error:
            raise Invalid(f"{where}: {error}") from None
    if isinstance(plain, type) and isinstance(value, plain) and (plain is bool or not isinstance(value, bool)):
        return value
    raise Invalid(f"{where}: expected {getattr(plain, '__name__', plain)}; got {shown(value)}")


def _plain(hint: Any) -> Any:
    """Return `X` for `X | None`."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return next(a for a in typing.get_args(hint) if a is not type(None))
    return hint
