"""Data that grow: `source` says where labelled samples come from, `pull` makes a version, `remember` is the suite."""
