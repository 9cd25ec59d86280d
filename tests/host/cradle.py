"""The nursery of the tests, `python -m tests.host.cradle FD`: its children do what they are told."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

from skerry.core.errors import PeerError
from skerry.host.nursery import read_message, send_message, serve_births


def live(parent: socket.socket, fds: list[int]) -> None:
    """Answer until the parent is gone."""
    try:
        while True:
            word, _, rest = read_message(parent).partition(b" ")
            if word == b"exit":
                os._exit(int(rest))
            elif word == b"raise":
                raise ValueError(rest)
            elif word == b"sleep":
                time.sleep(float(rest))
            elif word == b"fds":
                send_message(parent, str(len(list(Path("/proc/self/fd").iterdir()))).encode())
            elif word == b"write":
                send_message(parent, str(os.write(fds[0], rest)).encode())
            else:
                send_message(parent, b"%d %d %b" % (os.getpid(), os.getppid(), rest))
    except PeerError:
        return


if __name__ == "__main__":
    serve_births(int(sys.argv[1]), live, lambda pid, status: print(pid, status, file=sys.stderr, flush=True))
