"""UNIX sockets: listening on a path, and leaving it as it was."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from skerry.core.errors import Conflict, Invalid
from skerry.host.local import close_local, doors, listen_local


def test_it_listens_for_the_user_and_the_group(tmp_path: Path) -> None:
    path = tmp_path / "node.sock"
    found = listen_local(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        found.accept()[0].close()
    with pytest.raises(Conflict, match="another process listens at"):
        listen_local(path)
    close_local(found, path)
    assert not path.exists()


def test_a_socket_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "node.sock"
    listen_local(path).close()
    found = listen_local(path)
    close_local(found, path)
    close_local(found, path)  # it is no error that it is gone


def test_what_cannot_be_listened_at_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(Conflict, match="something else has this name"):
        listen_local(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "precious"
    with pytest.raises(Conflict, match="No such file or directory"):
        listen_local(tmp_path / "none" / "node.sock")
    with pytest.raises(Invalid, match="at most 107 bytes"):
        listen_local(tmp_path / ("x" * 108))
    with pytest.raises(Invalid, match="expected a path"):
        listen_local(tmp_path / "a\0b")


def test_two_doors_or_none(tmp_path: Path) -> None:
    with doors(None) as none:
        assert none == []
    with doors(tmp_path / "node.sock") as two:
        assert [one.getsockname() for one in two] == [str(tmp_path / "node.sock"), str(tmp_path / "node.sock.fd")]
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "node.sock.fd").write_text("x")
    with pytest.raises(Conflict), doors(tmp_path / "node.sock"):
        pass
    assert [one.name for one in tmp_path.iterdir()] == ["node.sock.fd"], "the first is closed if the second fails"
