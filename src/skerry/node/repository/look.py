"""A look at the paths that a node serves: every model there, every version that its policy asks for.

What is odd is refused with its reason and stops nothing else. Where a version cannot serve (it is broken, still
being written, or for another runtime), the next lower one does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from skerry.core.errors import Invalid, LoadFailed, NotFound, SkerryError
from skerry.core.manifest import MANIFEST
from skerry.core.names import MAX_VERSION, ModelName, model_name, shown
from skerry.node.repository.disk import GRACE, entries, text_of
from skerry.node.repository.found import Found, Listing, Refusal, Source, named, plain
from skerry.node.repository.version import (
    MODEL_FILES,
    RUNTIMES,
    Terms,
    bundle_at,
    file_at,
    files_of,
    foreign,
    holds_model,
    no_model,
    version_at,
)
from skerry.wire.config import Options, Policy, Which, read_config

NONE: Mapping[str, str] = {}
CONFIG = "config.pbtxt"
MAX_CONFIG = 1 << 20  # bytes read; what may be in it is less
_read = lru_cache(256)(read_config)  # a poll finds the same bytes: reading them takes 0.8 ms, more than all the rest
_DIGITS = re.compile(r"[0-9]{1,40}")


def find(paths: tuple[Path, ...]) -> tuple[Found, ...]:
    """Return the models at the paths; raise NotFound or Invalid naming a path that holds none, or two with one name.

    An empty folder holds none yet. Every file counts as written.
    """
    sources = [Source(path) for path in paths]
    listings = [_at(source, Terms(math.inf, GRACE, NONE)) for source in sources]
    for source, listing in zip(sources, listings, strict=True):
        if not listing.found and listing.refusals:
            raise _nothing(source.path, listing)
    within = {clash.path for listing in listings for clash in _clashes([listing])}  # these stop nothing else
    for clash in _clashes(listings):
        if clash.path not in within:
            raise clash.error
    return tuple(found for listing in listings for found in listing.found if found.path not in within)


def look(
    paths: Iterable[Path | Source],
    now: float = math.inf,
    grace: float = GRACE,
    bad: Mapping[str, str] = NONE,
) -> Listing:
    """Return what is at the paths; nothing there is an error, only a refusal.

    `now` is in Unix seconds; without it every file counts as written. `bad` are the stamps of what did not load, with
    the reason: these are refused until their files change, and the next lower version serves.
    """
    terms = Terms(now, grace, bad)
    listings = [_at(one if isinstance(one, Source) else Source(one), terms) for one in paths]
    clashes = tuple(_clashes(listings))
    refusals = tuple(refusal for listing in listings for refusal in listing.refusals)
    owners = _owners(listings)
    found = (
        one for index, listing in enumerate(listings) for one in listing.found if owners[one.name] == _owner(index, one)
    )
    return Listing(tuple(found), refusals + clashes)


def _nothing(path: Path, listing: Listing) -> SkerryError:
    """Return the error of a path without a model: its own, or those of what was found in it."""
    if len(listing.refusals) == 1 and listing.refusals[0].path == path:
        return listing.refusals[0].error
    return LoadFailed(f"{plain(path)}: no model in it can be served:\n" + "\n".join(listing.refused.values()))


def _owner(index: int, found: Found) -> tuple[int, Path | None]:
    """Return who may use a name: one model's folder, or the bundles of one repository."""
    return index, None if found.folder == found.path else found.folder


def _owners(listings: list[Listing]) -> dict[str, tuple[int, Path | None]]:
    """Return who came first with each name."""
    owners: dict[str, tuple[int, Path | None]] = {}
    for index, listing in enumerate(listings):
        for one in listing.found:
            owners.setdefault(one.name, _owner(index, one))
    return owners


def _clashes(listings: list[Listing]) -> Iterator[Refusal]:
    """Yield what has the name of a model that something before it has already."""
    owners = _owners(listings)
    first: dict[str, Found] = {}
    for index, listing in enumerate(listings):
        for one in listing.found:
            before = first.setdefault(one.name, one)
            if owners[one.name] != _owner(index, one):
                text = f"model {one.name}: found at {plain(before.path)} and at {plain(one.path)}; rename one"
                yield Refusal(one.name, one.version, one.path, Invalid(text))


def _at(source: Source, terms: Terms) -> Listing:
    path = source.path
    try:
        if not path.exists():
            raise NotFound(f"{plain(path)}: no such file or folder")
        if path.is_file():
            return Listing((_dressed(file_at(path, source.name, terms), source),))
        one = _model(path, source, terms)
        if one is None and not _single(source):
            one = _repository(path, terms)
        if one is None and not _single(source) and not entries(path):
            return Listing()
        if one is None:
            wanted = f"a bundle ({MANIFEST} in it) nor a repository (<model>/<version>/{MODEL_FILES[0]})"
            raise NotFound(f"{plain(path)}: neither {wanted}")
        return one
    except (SkerryError, OSError, ValueError) as error:  # ValueError: a path with a null byte in it
        return Listing(refusals=(_refusal(source.name or path.name, None, path, error),))


def _single(source: Source) -> bool:
    return bool(source.name or source.policy or source.labels)


def _dressed(found: Found, source: Source) -> Found:
    """Return what was found with what its source says of it."""
    return replace(found, version_labels=dict(source.labels)) if source.labels else found


def _refusal(name: str, version: int | None, path: Path, error: SkerryError | OSError | ValueError) -> Refusal:
    if not isinstance(error, SkerryError):
        reason = getattr(error, "strerror", None) or str(error)
        error = LoadFailed(f"{plain(path)}: cannot be read: {reason}")
    return Refusal(named(name), version, path, error)


def _repository(path: Path, terms: Terms) -> Listing | None:
    """Return the models in the folders of a repository, None if there is not one."""
    found: list[Found] = []
    refusals: list[Refusal] = []
    for folder in entries(path):
        try:
            listing = _model(folder, Source(folder), terms) if folder.is_dir() else None
            if listing is None:
                refusals += _empty(folder)
        except (SkerryError, OSError) as error:  # one odd folder must not stop the others
            refusals.append(_refusal(folder.name, None, folder, error))
            continue
        if listing is not None:
            found += listing.found
            refusals += listing.refusals
    flat: dict[str, list[Found]] = {}  # bundles without a version's folder: those of one name are its versions
    for one in found:
        if one.folder == one.path:
            flat.setdefault(one.name, []).append(one)
    kept = {max(many, key=lambda one: one.version).path for many in flat.values()}
    found = [one for one in found if one.folder != one.path or one.path in kept]
    return Listing(tuple(found), tuple(refusals)) if found or refusals else None


def _model(folder: Path, source: Source, terms: Terms) -> Listing | None:
    """Return the versions that a folder holds, or None if it is no model's; raise for one that is wholly wrong."""
    if (folder / MANIFEST).is_file():
        found = bundle_at(folder, terms)
        if source.name and source.name != found.name:
            raise Invalid(f"{plain(folder)}: expected a bundle of {source.name}; its manifest says {found.name}")
        return Listing((_dressed(found, source),))
    data = text_of(folder / CONFIG, MAX_CONFIG)
    versions = _versions(folder)
    if data is None and not any(holds_model(one) for one in versions.values()):
        return None
    # a link's name is the model's; "." and ".." have none of their own
    name = folder.name if folder.name not in ("", "..") else folder.resolve().name
    options = Options() if data is None else _options(data, folder, name)
    if source.policy:
        options = replace(options, policy=source.policy)
    try:
        asked = model_name(source.name or name)
    except Invalid as error:
        raise Invalid(f"{plain(folder)}: clients ask for a model by its folder's name; rename it: {error}") from None
    return _listing(folder, asked, versions, options, terms, source)


def _options(data: bytes, folder: Path, name: str) -> Options:
    try:
        options = _read(data, name)
    except Invalid as error:
        raise Invalid(f"{plain(folder)}: {error}") from None
    for name, field in files_of(options):
        if not (folder / name).is_file():
            raise NotFound(f"{plain(folder)}: expected {name}, which {field} names; it is not there")
    return options


def _versions(folder: Path) -> dict[str, Path]:
    """Return the folders whose names are digits, by their names."""
    return {one.name: one for one in entries(folder) if _DIGITS.fullmatch(one.name) and one.is_dir()}


def _number(text: str) -> int | None:
    """Return the version that a folder's name is, leading zeros or not: a whole number that fits 64 bits, or None."""
    return number if 0 < (number := int(text)) <= MAX_VERSION else None


def _numbered(name: ModelName, places: dict[str, Path], padded: bool) -> tuple[dict[int, Path], list[Refusal]]:
    """Return the folders by their versions, and refusals of those passed over.

    TensorFlow Serving reads 00000123 as version 123, and its exporters write it so; Triton reads no such folder, so
    with a config.pbtxt (not `padded`) neither does a node. Of two folders of one version the shorter name serves.
    """
    found: dict[int, Path] = {}
    refusals: list[Refusal] = []
    for text in sorted(places, key=lambda one: (len(one), one)):
        number, place = _number(text), places[text]
        if number is None:
            continue
        if text[0] == "0" and not padded:
            why = f"{plain(place)}: passed over: a version beside a {CONFIG} has no leading zeros; rename it {number}"
            refusals.append(Refusal(name, number, place, Invalid(why)))
        elif number in found:
            why = f"{plain(place)}: is version {number}, and so is {plain(found[number])}, which serves; remove one"
            refusals.append(Refusal(name, number, place, Invalid(why)))
        else:
            found[number] = place
    return found, refusals


def _listing(
    folder: Path, name: ModelName, places: dict[str, Path], options: Options, terms: Terms, source: Source
) -> Listing:
    """Return the versions that the policy asks for; of the latest, each that cannot serve gives way to the next."""
    by_number, refusals = _numbered(name, places, padded=not (folder / CONFIG).is_file())
    found: list[Found] = []
    for number in sorted(_candidates(options.policy, by_number), reverse=True):
        if options.policy.which is Which.LATEST and len(found) == options.policy.count:
            break
        place = by_number.get(number, folder / str(number))
        try:
            if number not in by_number:
                raise NotFound(f"{plain(place)}: no such folder; version_policy asks for it")
            found.append(_dressed(version_at(place, name, number, options, terms), source))
        except (SkerryError, OSError) as error:
            refusals.append(_refusal(name, number, place, error))
    if not found:
        refusals += _misnamed(folder, name, places, bool(refusals))
    return Listing(tuple(reversed(found)), tuple(refusals))


def _candidates(policy: Policy, have: Iterable[int]) -> Iterable[int]:
    return policy.versions if policy.which is Which.SPECIFIC else have


def _misnamed(folder: Path, name: str, places: dict[str, Path], told: bool) -> list[Refusal]:
    """Return refusals that say what is wrong with a model's folder in which no version was looked at."""
    wrong = [place for text, place in places.items() if _number(text) is None]
    odd = [_refusal(name, None, place, foreign(place) or _no_version(place)) for place in wrong]
    if odd or told:
        return odd
    text = f"{plain(folder)}: no version in it; expected {MODEL_FILES[0]} in the folder {plain(folder / '1')}"
    return [_refusal(name, None, folder, NotFound(text))]


def _empty(folder: Path) -> list[Refusal]:
    """Return a refusal for what looks like a model's folder and has no model in it, none for anything else."""
    if folder.is_symlink() and not folder.exists():
        return [_refusal(folder.name, None, folder, NotFound(f"{plain(folder)}: a link to what is not there"))]
    if not (folder.is_dir() and (places := _versions(folder))):
        return []
    return [_refusal(folder.name, None, folder, no_model(place, tuple(RUNTIMES))) for place in places.values()]


def _no_version(place: Path) -> Invalid:
    expected = f"a whole number from 1 to {MAX_VERSION}"
    return Invalid(f"{plain(place)}: a version is {expected}; got {shown(place.name)}")
