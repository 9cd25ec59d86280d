"""`skerry forge tabular` and `rebuild`: a model from a table of numbers, and any bundle forged again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skerry.cli.forging.look import say_gate
from skerry.cli.say import emit, errors, fail, out, watching

Json = Annotated[bool, typer.Option("--json", help="One JSON line for machines.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="The new bundle; its card's page lies beside it.")]


def tabular(
    data: Annotated[Path, typer.Argument(help="A CSV of numbers with a label column, or a .npz of x and y.")],
    out_folder: Out,
    name: Annotated[str, typer.Option(help="The model's name. [default: the data's]")] = "",
    label: Annotated[str, typer.Option(help="The label's column, by name or place. [default: label, or 1]")] = "",
    labels: Annotated[Path | None, typer.Option(help="Names for labels 0, 1, 2 …, one in each line.")] = None,
    least: Annotated[str, typer.Option(help="Accuracy that a gate asks for, as 96.5 or 0.965.")] = "",
    dial: Annotated[list[str] | None, typer.Option(help="width=96, epochs=80, … May be repeated.")] = None,
    val: Annotated[float, typer.Option(help="Share for validation, of data not split.", max=0.9)] = 0.15,
    test: Annotated[float, typer.Option(help="Share for the test, of data not split.", max=0.9)] = 0.2,
    seed: Annotated[int, typer.Option(help="Of the split and the training.", min=0)] = 0,
    json: Json = False,
) -> None:
    """Train on rows of numbers, in seconds, and prove it. Exit status 1 if a gate fails.

    A header names the columns, if there is one; `group` keeps rows together, `split` says train, val or test.
    """
    with errors():
        from skerry.forge.recipe.forge import forge
        from skerry.forge.recipe.recipe import Asked, read_dials, read_share
        from skerry.forge.tabular.recipe import TABULAR
        from skerry.forge.tabular.rows import data_of, read_labels

        named = () if labels is None else read_labels(labels)
        asked = Asked(name, 1, seed, val, test, read_share(least), label, named, read_dials(tuple(dial or ())))
        with watching(json) as watch:
            forged = forge(TABULAR, data_of(data, label), asked, out_folder, watch)
        bundle, card = forged.bundle, forged.card
        if json:
            emit({"bundle": str(bundle.path), "digest": bundle.manifest.digest, "card": card.json()})
        else:
            for verdict in card.gates:
                say_gate(verdict)
            out.print(f"{bundle.path}: {bundle.manifest.digest}, {bundle.manifest.size / 1000:.0f} KB", markup=False)
            out.print(f"Next:  skerry serve {bundle.path}    its card: {bundle.path}.html", markup=False)
        if any(verdict.outcome.value == "fail" for verdict in card.gates):
            raise typer.Exit(1)


def rebuild(
    folder: Annotated[Path, typer.Argument(help="A bundle with a card.")],
    data: Annotated[Path, typer.Option(help="The data that it was made from.")],
    out_folder: Out,
    recipe: Annotated[str, typer.Option(help="Your own recipe: file.py:NAME or module:NAME.")] = "",
    source: Annotated[Path | None, typer.Option("--from", help="The bundle that an optimised one was made of.")] = None,
    json: Json = False,
) -> None:
    """Forge a bundle again by what its card says: the same bytes, or why not (exit status 1)."""
    with errors():
        from skerry.forge.recipe.own import recipe_at
        from skerry.forge.recipe.rebuild import RECIPES, rebuild_optimised
        from skerry.forge.recipe.rebuild import rebuild as again

        known = RECIPES
        if recipe:
            own = recipe_at(recipe)
            known = {**RECIPES, own.name: own}
        with watching(json) as watch:
            if source is None:
                found = again(folder, data, out_folder, watch, known)
            else:
                found = rebuild_optimised(folder, source, data, out_folder, watch)
        digest = "" if found.bundle is None else str(found.bundle.manifest.digest)
        if json:
            emit({"same": found.same, "why": list(found.why), "digest": digest})
        elif found.same:
            out.print(f"[green]same bytes[/]  {digest}")
        else:
            for line in found.why:
                out.print(line, markup=False)
        if not found.same:
            if json:
                raise typer.Exit(1)
            fail("not the same bytes")


def train(
    recipe: Annotated[str, typer.Argument(help="Your recipe: file.py:NAME or module:NAME.")],
    data: Annotated[Path, typer.Option(help="A CSV of numbers, or a .npz of x and y.")],
    out_folder: Out,
    name: Annotated[str, typer.Option(help="The model's name. [default: the data's]")] = "",
    least: Annotated[str, typer.Option(help="Accuracy that a gate asks for, as 96.5 or 0.965.")] = "",
    dial: Annotated[list[str] | None, typer.Option(help="NAME=NUMBER, one of the recipe's. May be repeated.")] = None,
    seed: Annotated[int, typer.Option(help="Of the split and the training.", min=0)] = 0,
) -> None:
    """Run a recipe of your own: its file is run as Python, so let it be one that you trust."""
    with errors():
        from skerry.forge.recipe.forge import forge
        from skerry.forge.recipe.own import recipe_at
        from skerry.forge.recipe.recipe import Asked, read_dials, read_share
        from skerry.forge.tabular.rows import data_of

        found = recipe_at(recipe)
        asked = Asked(name, seed=seed, least=read_share(least), dials=read_dials(tuple(dial or ())))
        with watching() as watch:
            forged = forge(found, data_of(data), asked, out_folder, watch)
        for verdict in forged.card.gates:
            say_gate(verdict)
        out.print(f"{forged.bundle.path}: {forged.bundle.manifest.digest}", markup=False)
        if any(verdict.outcome.value == "fail" for verdict in forged.card.gates):
            raise typer.Exit(1)
