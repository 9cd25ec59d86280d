"""The gRPC protocols' definitions with their field numbers, and what reads and writes their wire format."""
