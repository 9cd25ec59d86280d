"""`skerry keys`: publishers' keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skerry.cli.say import errors, out

app = typer.Typer(
    help="Make publishers' keys: bundles are signed with one half, nodes trust the other.", no_args_is_help=True
)


@app.command("new", epilog="Example:  skerry keys new publisher.key   (writes publisher.key and publisher.pub)")
def new(
    path: Annotated[Path, typer.Argument(help="The private key's file; the public one gets the ending .pub.")],
) -> None:
    """Make an Ed25519 key pair. Keep the private half where you publish; give the public one to your nodes."""
    from skerry.core.errors import Conflict
    from skerry.core.trust import key_id
    from skerry.host.ed25519 import PrivateKey
    from skerry.host.files import Disk
    from skerry.host.keys import public_line

    with errors():
        public = path.with_suffix(".pub")
        if public == path:
            raise Conflict(f"{path}: this is where the public key goes; give the private key another ending")
        for one in (path, public):
            if one.exists():
                raise Conflict(f"{one} exists already; a key is never overwritten")
        key, disk = PrivateKey.make(), Disk()
        key.save(path, disk)
        disk.write(public, public_line(key.public, path.stem).encode())
        out.print(f"private key  {path}   (readable by you alone; do not copy it to nodes)")
        out.print(f"public key   {public}   key id {key_id(key.public)}")
