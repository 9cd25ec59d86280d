"""Fuzzing: bytes from outside against every parser. Here are the targets, the engine's command and the corpus.

A target takes bytes and returns; whatever it raises is a finding. Nothing here is part of the product.
"""
