"""Commands of `skerry forge`; `cli/forge.py` registers them."""
