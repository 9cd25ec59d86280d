"""The least that an HTTP server in Python can do: asyncio, uvloop, httptools; the body's last 64 bytes come back."""

from __future__ import annotations

import asyncio
import json

import httptools
import uvloop

BACK = 64  # bytes of the answer: a tensor of 16 floats
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n"


class Echo(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where answers go."""
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]  # TCP transports write
        self._parser = httptools.HttpRequestParser(self)
        self._body = b""

    def data_received(self, data: bytes) -> None:
        """Read what came."""
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        """Keep the body; only its end is used."""
        self._body = data if len(data) >= BACK else (self._body + data)[-BACK:]

    def on_message_complete(self) -> None:
        """Answer."""
        back = self._body[-BACK:]
        self._transport.write(HEAD % len(back) + back)
        self._body = b""


async def main() -> None:
    """Listen on a free port of loopback until killed."""
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    print(json.dumps({"event": "ready", "http": f"http://{host}:{port}"}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
