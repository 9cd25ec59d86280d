"""The version of this Skerry: said here once, for the package, the node's metadata and the console."""

VERSION = "0.1.0"
