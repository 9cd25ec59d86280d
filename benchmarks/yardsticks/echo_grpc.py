"""The least that a gRPC server in Python can do: grpcio's threads, no message classes, the request comes back."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import grpc

from benchmarks.bodies import ECHO

THREADS = 8


def main() -> None:
    """Listen on a free port of loopback until killed."""
    _, service, method = ECHO.split("/")
    echo = grpc.unary_unary_rpc_method_handler(lambda request, _: request)
    server = grpc.server(ThreadPoolExecutor(THREADS))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: echo}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(json.dumps({"event": "ready", "grpc": f"127.0.0.1:{port}"}), flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
