"""`skerry bundle`: make, look at, check and sign bundles."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from skerry.cli.say import emit, errors, out

app = typer.Typer(help="Make, look at, check and sign bundles.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="The bundle's folder.")]


@app.command(
    "init",
    epilog="Example:  skerry bundle init model.onnx --name parts --labels labels.txt -o parts/\n\n"
    "ImageNet scaling:  --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225",
)
def init(
    model: Annotated[Path, typer.Argument(help="An ONNX file.")],
    out_folder: Annotated[Path, typer.Option("--out", "-o", help="The bundle's new folder.")],
    name: Annotated[str | None, typer.Option(help="The model's name; the file's stem if left out.")] = None,
    version: Annotated[int, typer.Option(help="The version, 1 or more.")] = 1,
    labels: Annotated[Path | None, typer.Option(help="A text file with one label a line.")] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT in pixels, if the model takes any size.")] = None,
    colour: Annotated[
        str, typer.Option("--colour", "--color", help="Channel order that the model expects: rgb or bgr.")
    ] = "rgb",
    scale: Annotated[float, typer.Option(help="Pixels (0 to 255) are multiplied by this.")] = 1 / 255,
    mean: Annotated[str, typer.Option(help="Then this is subtracted: one number or one a channel, with commas.")] = "0",
    std: Annotated[str, typer.Option(help="Then they are divided by this.")] = "1",
    letterbox: Annotated[bool, typer.Option("--letterbox", help="Keep the sides' ratio and fill up.")] = False,
    threshold: Annotated[float, typer.Option(help="Least score of a detection.")] = 0.5,
    golden: Annotated[
        list[Path] | None, typer.Option(help="An image (or a .json of inputs) to record as golden; may be repeated.")
    ] = None,
) -> None:
    """Make a bundle of an ONNX file. Steps are guessed from its shapes, shown, and can be edited in manifest.json."""
    from skerry.core import names
    from skerry.core.errors import Invalid
    from skerry.engine.make import Wishes, make_bundle
    from skerry.host.files import Disk

    with errors():
        if not model.is_file():
            raise Invalid(f"model: no file {model}")
        match = re.fullmatch(r"(\d+)x(\d+)", size) if size else None
        if size and not match:
            raise Invalid(f"--size: expected WIDTHxHEIGHT such as 640x480; got {size!r}")
        lines = _lines(labels) if labels else []
        wishes = Wishes(
            name=names.model_name(name or model.stem),
            version=names.version(version),
            labels=tuple(line for line in lines if line),
            size=(int(match[1]), int(match[2])) if match else None,
            colour=colour,
            scale=scale,
            mean=_numbers(mean, "--mean"),
            std=_numbers(std, "--std"),
            letterbox=letterbox,
            threshold=threshold,
            goldens=tuple(golden or ()),
        )
        bundle = make_bundle(model, wishes, out_folder, Disk())
        _show(bundle.path)
        for hint in _hints(bundle):
            out.print(f"[yellow]Note:[/] {hint}")
        out.print(f"\nLook at {bundle.path}/manifest.json, then:  skerry serve {bundle.path}")


@app.command("show", epilog="Example:  skerry bundle show parts/ --json")
def show(folder: Folder, json: Annotated[bool, typer.Option("--json", help="The manifest as JSON.")] = False) -> None:
    """Show what a bundle is: its digest, inputs, outputs, steps and files."""
    from skerry.engine.bundle import open_bundle

    with errors():
        if json:
            manifest = open_bundle(folder).manifest
            emit({"digest": manifest.digest, "manifest": manifest.json()})
        else:
            _show(folder)


@app.command("check", epilog="Example:  skerry bundle check parts/ --trust publisher.pub")
def check(
    folder: Folder,
    trust: Annotated[
        list[str] | None, typer.Option(help="A public key that must have signed it (file or line).")
    ] = None,
) -> None:
    """Verify every file (and the signature), load the model and run its goldens on this machine."""
    from skerry.engine.bundle import open_bundle, verify
    from skerry.engine.golden import check_goldens
    from skerry.engine.session import open_session, plan_threads
    from skerry.host import machine
    from skerry.host.clock import Clock
    from skerry.host.keys import read_trust

    with errors():
        bundle, here = open_bundle(folder), machine.look()
        verify(bundle, read_trust(trust or ()))
        session = open_session(bundle, plan_threads(here), here, Clock())
        count = check_goldens(session, folder)
        session.close()
        signed = "signature good, " if trust else ""
        out.print(f"{folder}: {signed}files good ({len(bundle.manifest.files)}), goldens passed ({count})")


@app.command("sign", epilog="Example:  skerry keys new publisher.key; skerry bundle sign parts/ --key publisher.key")
def sign(
    folder: Folder, key: Annotated[Path, typer.Option(help="The private key, made by 'skerry keys new'.")]
) -> None:
    """Sign a bundle, after checking that its files are those that the manifest names."""
    from skerry.core.trust import key_id
    from skerry.engine.bundle import open_bundle, verify
    from skerry.engine.bundle import sign as put_signature
    from skerry.host.ed25519 import PrivateKey
    from skerry.host.files import Disk

    with errors():
        bundle, private = open_bundle(folder), PrivateKey.load(key)
        verify(bundle)
        put_signature(bundle, private, Disk())
        out.print(f"{folder}: signed {bundle.manifest.digest} with key {key_id(private.public)}")


def _lines(path: Path) -> list[str]:
    from skerry.core.errors import Invalid

    try:
        return [line.strip() for line in path.read_text("utf-8").splitlines()]
    except UnicodeDecodeError:
        raise Invalid(f"--labels: expected UTF-8 text in {path}") from None


def _hints(bundle: Any) -> list[str]:
    """Return what the owner of a new bundle should know about it."""
    from skerry.engine.golden import read_findings

    manifest, hints = bundle.manifest, []
    if not manifest.pre:
        hints.append("no image steps: it takes and gives plain tensors (see /v2/models/NAME on the node).")
    elif not manifest.post:
        hints.append("no steps are known for its outputs: images in, tensors out. Add steps to manifest.json, or call "
                     "/v2/models/NAME/infer.")  # fmt: skip
    if not manifest.goldens:
        hints.append(
            "no golden: made-up input did not run. Give one with --golden FILE (an image, or a .json of inputs)."
        )
    elif manifest.post and not any(read_findings(bundle.path / golden.answer) for golden in manifest.goldens):
        hints.append(
            "its goldens hold no finding, so they prove little. Give an image that shows something: --golden FILE."
        )
    return hints


def _numbers(text: str, option: str) -> tuple[float, ...]:
    from skerry.core.errors import Invalid

    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise Invalid(f"{option}: expected numbers with commas between them; got {text!r}") from None


def _show(folder: Path) -> None:
    from skerry.engine.bundle import open_bundle

    manifest = open_bundle(folder).manifest
    out.print(f"[bold]{manifest.name}[/] version {manifest.version}   {manifest.digest}")
    for title, specs in (("in", manifest.inputs), ("out", manifest.outputs)):
        for spec in specs:
            out.print(f"  {title:<7} {spec.name}  {spec.dtype.value} {list(spec.shape)}", markup=False)
    for title, steps in (("before", manifest.pre), ("after", manifest.post)):
        for step in steps:
            options = " ".join(f"{k}={v}" for k, v in step.options.items())
            out.print(f"  {title:<7} {step.step}  {options}", markup=False)
    out.print(f"  labels  {len(manifest.labels)}   goldens {len(manifest.goldens)}   {manifest.size / 1e6:.2f} MB")
