"""HTTP by hand: one connection, requests as bytes, and the answers that come."""

from __future__ import annotations

import contextlib
import json
import re

from tests.node.kit import ONE_JSON

ASK = json.dumps({"inputs": [ONE_JSON]}).encode()
INFER = "/v2/models/m/infer"
HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


class Line:
    """One connection, and the answers that came on it."""

    def __init__(self, found) -> None:
        self.socket, self.data = found.line(), b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *pieces: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for piece in pieces:
                self.socket.sendall(piece)

    def more(self) -> bool:
        try:
            piece = self.socket.recv(1 << 16)
        except ConnectionResetError:
            return False
        self.data += piece
        return bool(piece)

    def answer(self, head: bool = False):
        """Return the next answer as (status, headers, body), None if the connection ends before it."""
        while b"\r\n\r\n" not in self.data:
            if not self.more():
                return None
        top, _, self.data = self.data.partition(b"\r\n\r\n")
        lines = top.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        status = int(re.fullmatch(r"HTTP/1\.1 (\d{3}) .+", lines[0])[1])
        size = 0 if head or status < 200 else int(headers["content-length"])
        while len(self.data) < size:
            if not self.more():
                return None
        body, self.data = self.data[:size], self.data[size:]
        return status, headers, body

    def all(self):
        """Return every answer until the node closes."""
        found = []
        while (one := self.answer()) is not None:
            found.append(one)
        return found

    def closed(self) -> bool:
        """Whether the node closes, with nothing more said."""
        while self.more():
            pass
        return self.data == b""


def post(body: bytes = ASK, path: str = INFER, *lines: str) -> bytes:
    head = "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", *lines, f"Content-Length: {len(body)}"])
    return head.encode("latin-1") + b"\r\n\r\n" + body


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n", path: str = INFER) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in pieces if one) + end


def with_id(number: int, size: int = 0) -> bytes:
    return json.dumps({"id": str(number), "inputs": [ONE_JSON], "pad": "x" * size}).encode()


def ids(answers):
    return [int(json.loads(body)["id"]) for _, _, body in answers]
