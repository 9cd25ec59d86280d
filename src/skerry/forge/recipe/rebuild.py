"""A bundle forged again by what its card says; whether the bytes are the same, and if not, what is otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from skerry.core.card import Card
from skerry.core.errors import Conflict, Invalid
from skerry.core.version import VERSION
from skerry.engine.bundle import Bundle, open_bundle, verify
from skerry.forge.data import Data, data_digest
from skerry.forge.data.look import Watch
from skerry.forge.recipe.card import card_of
from skerry.forge.recipe.forge import forge, parts_of, processor, tools, uses
from skerry.forge.recipe.recipe import Asked, Recipe
from skerry.forge.recipe.replay import replay, shares_of
from skerry.forge.shrink.prepare import parts_of as shrunk_parts
from skerry.forge.shrink.prepare import source_of
from skerry.forge.shrink.write import TOOLS
from skerry.forge.tabular.recipe import TABULAR
from skerry.forge.tabular.rows import data_of

UNKNOWN = (
    "nothing that the card names is otherwise: the recipe has changed, takes chance from elsewhere than PyTorch, "
    "or this processor adds in another order"
)
RECIPES: Mapping[str, Recipe] = {TABULAR.name: TABULAR}


@dataclass(frozen=True)
class Rebuilt:
    """What came of it. `why` tells each thing that is otherwise; `bundle` is None if it was not worth the run."""

    same: bool
    why: tuple[str, ...]
    bundle: Bundle | None


def rebuild(path: Path, data: Path, out: Path, watch: Watch, recipes: Mapping[str, Recipe] = RECIPES) -> Rebuilt:
    """Forge a bundle again into `out`; raise Invalid or NotFound if its card does not say how, or nobody can."""
    bundle, card = _opened(path, out)
    recipe = recipes.get(card.recipe)
    if recipe is None:
        raise Invalid(f"bundle {path}: {_unknown(card.recipe, recipes)}")
    asked = Asked.of(card, str(bundle.manifest.name), bundle.manifest.version)
    found = replace(data_of(data, asked.label), name=next((use.name for use in card.data), ""))
    other = tuple(_other_data(card, uses(parts_of(found, asked, watch))))
    if other:
        return Rebuilt(False, other, None)
    return _compared(bundle, forge(recipe, found, asked, out, watch).bundle, card, tools())


def rebuild_optimised(path: Path, source: Path, data: Path, out: Path, watch: Watch) -> Rebuilt:
    """Optimise `source` again as the card of the bundle at `path` says, without measuring; else as `rebuild`."""
    bundle, card = _opened(path, out)
    if card.recipe != "optimise":
        raise Invalid(f"bundle {path}: expected one that 'optimise' made; got {card.recipe or 'none'!r}")
    begun = source_of(source, out)
    parts = shrunk_parts(data, begun, shares_of(card), watch)
    name = next((use.name for use in card.data), "")
    used = {"calibration": replace(parts.calibration, name=name), "test": replace(parts.test, name=name)}
    other = tuple(_other_data(card, used))
    if other:
        return Rebuilt(False, other, None)
    here = {"skerry": VERSION, **{name: version(name) for name in TOOLS}}
    return _compared(bundle, replay(begun, bundle, card, parts, out, watch), card, here)


def _opened(path: Path, out: Path) -> tuple[Bundle, Card]:
    if out.exists():
        raise Conflict(f"{out}: there is something already; remove it or choose another folder")
    bundle = open_bundle(path)
    verify(bundle)
    return bundle, card_of(bundle)


def _compared(before: Bundle, after: Bundle, card: Card, here: Mapping[str, str]) -> Rebuilt:
    if after.manifest.digest == before.manifest.digest:
        return Rebuilt(True, (), after)
    files, around = tuple(_files(before, after)), tuple(_around(card, here))
    if before.manifest.files != after.manifest.files and not around:
        around = (UNKNOWN,)
    return Rebuilt(False, (*files, *around), after)


def _unknown(name: str, recipes: Mapping[str, Recipe]) -> str:
    known = ", ".join(recipes)
    if name == "optimise":
        return "'optimise' made it: give the bundle that it was made of with --from"
    return f"recipe {name or 'none'!r} cannot be run again by this command; it knows: {known}"


def _other_data(card: Card, parts: Mapping[str, Data]) -> Iterator[str]:
    """Give each part of the data that is not what the card says."""
    said = {use.use: use for use in card.data}
    for use, part in parts.items():
        known, digest = said.get(use), data_digest(part)
        if known is None:
            yield f"data: the card names none for {use}"
        elif known.manifest != digest:
            yield (f"data: {use} is otherwise: {known.files} examples {known.manifest[:19]}… in the card, "
                   f"{len(part.examples)} examples {digest[:19]}… here")  # fmt: skip


def _files(before: Bundle, after: Bundle) -> Iterator[str]:
    """Give each file that is otherwise, or the manifest if all of them are the same."""
    one, other = before.manifest.files, after.manifest.files
    wrong = [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]
    for name in wrong:
        yield f"{name}: other bytes"
    model = before.manifest.runtime.file
    if wrong and model not in wrong:
        yield f"{model}: the same bytes"
    if not wrong:
        yield "manifest: changed by hand since; all files are the same"


def _around(card: Card, here: Mapping[str, str]) -> Iterator[str]:
    """Give what has a hand in the bytes and is not as it was: versions of tools, the kind of processor."""
    for what, before, now in (("tool", card.tools, here), ("processor", card.target.facts, processor())):
        for name in sorted({*before} & {*now} if what == "processor" else {*before, *now}):
            if before.get(name) != now.get(name):
                yield f"{what} {name}: {before.get(name, 'none')} in the card, {now.get(name, 'none')} here"
