"""A webhook receiver for the demo: takes alarms by POST on loopback and hands them to the caller."""

from __future__ import annotations

import json
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MAX_ALARM = 1 << 20  # bytes of one alarm


class Receiver:
    """Listens on a free port; `alarms` holds what came."""

    def __init__(self) -> None:
        self.alarms: queue.Queue[dict[str, Any]] = queue.Queue()
        alarms = self.alarms

        class Post(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", "0"))
                try:
                    alarms.put(json.loads(self.rfile.read(min(length, MAX_ALARM))))
                    self.send_response(204)
                except ValueError:
                    self.send_response(400)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Post)
        self.url = f"http://127.0.0.1:{self._server.server_port}/alarm"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
