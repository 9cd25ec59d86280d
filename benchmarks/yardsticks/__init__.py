"""Servers to compare with, each a program of its own that prints one ready line as JSON."""
