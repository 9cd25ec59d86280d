"""HTTP/1.1 as the node speaks it: h11, with our error bodies where a request is none.

h11 and not httptools: a client that offers an upgrade (`Upgrade: h2c`, as curl --http2 does) must
have its body read all the same, and uvicorn's httptools protocol drops it.
"""

from __future__ import annotations

import json

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class Http1(H11Protocol):
    """uvicorn's h11 protocol, which would answer a broken request in plain text."""

    def send_400_response(self, msg: str) -> None:
        """Answer {"error": ...} and close."""
        body = json.dumps({"error": msg}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
