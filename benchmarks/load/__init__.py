"""Clients that put load on a server: wrk, plain sockets, gRPC, and an open loop."""
