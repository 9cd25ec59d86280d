"""UNIX sockets: listening on a path of this machine. Who may connect is the file system's to say."""

from __future__ import annotations

import contextlib
import errno
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from skerry.core.errors import Conflict, Invalid
from skerry.core.names import shown

DESCRIPTORS = ".fd"  # after the name of the socket for HTTP
MODE = 0o660  # the node's user and group
MAX_PATH = 107  # bytes that a socket's path may have on Linux


def listen_local(path: Path) -> socket.socket:
    """Return a listening UNIX socket at a path; one that a node left behind is replaced.

    Raises Conflict if another process listens there or something else has the name, Invalid for a bad path.
    """
    if len(bytes(path)) > MAX_PATH:
        raise Invalid(f"local: expected a path of at most {MAX_PATH} bytes; got {shown(str(path))}")
    _clear(path)
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        found.bind(str(path))
        path.chmod(MODE)
        found.listen(1024)
    except (OSError, ValueError) as error:  # ValueError: a null byte
        found.close()
        why = getattr(error, "strerror", None) or error
        raise Conflict(f"local: {path}: {why}; choose another path") from None
    return found


def close_local(listener: socket.socket, path: Path) -> None:
    """Close it and take its name away."""
    listener.close()
    with contextlib.suppress(OSError):
        path.unlink()


@contextlib.contextmanager
def doors(path: Path | None) -> Iterator[list[socket.socket]]:
    """Listen at a path, and at one beside it where file descriptors may be passed; at none without a path."""
    if path is None:
        yield []
        return
    with contextlib.ExitStack() as undo:
        found = []
        for one in (path, path.with_name(path.name + DESCRIPTORS)):
            found.append(listen_local(one))
            undo.callback(close_local, found[-1], one)
        yield found


def _clear(path: Path) -> None:
    """Take away a socket that nobody listens at."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise Conflict(f"local: {path}: something else has this name; choose another path")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            probe.connect(str(path))
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno == errno.ECONNREFUSED:
            path.unlink(missing_ok=True)
            return
        raise Conflict(f"local: {path}: {error.strerror}; choose another path") from None
    except ValueError:
        raise Invalid(f"local: expected a path; got {shown(str(path))}") from None
    raise Conflict(f"local: another process listens at {path}; stop it, or choose another path")
