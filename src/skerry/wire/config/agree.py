"""Whether a config.pbtxt and the model speak of the same inputs and outputs."""

from __future__ import annotations

from collections.abc import Sequence

from skerry.core.errors import Invalid
from skerry.core.tensor import Spec
from skerry.wire.config.options import Options, Port
from skerry.wire.config.text import FILE


def agree(options: Options, inputs: Sequence[Spec], outputs: Sequence[Spec]) -> None:
    """Raise Invalid, naming the input or output, unless what was declared is what the model's file has.

    `inputs` and `outputs` are those that clients see: without what the node fills and keeps. What is not declared at
    all is not checked.
    """
    size = options.max_batch_size or 0
    for spec in inputs if size else ():
        if spec.shape[:1] not in ((-1,), (1,)):
            raise Invalid(f"{FILE}: max_batch_size: expected 0: input '{spec.name}' has the shape {list(spec.shape)}, "
                          "whose first dimension is no batch")  # fmt: skip
    _agree("input", options.inputs, inputs, size)
    _agree("output", options.outputs, outputs, size)
    silent = {spec.name for spec in inputs} - {port.name for port in options.inputs}
    if options.inputs and silent:
        raise Invalid(f"{FILE}: the model's file has the input {', '.join(sorted(silent))}; it is not declared")


def _agree(kind: str, ports: Sequence[Port], specs: Sequence[Spec], size: int) -> None:
    known = {spec.name: spec for spec in specs}
    for port in ports:
        spec = known.get(port.name)
        if spec is None:
            if port.optional:
                continue
            raise Invalid(f"{FILE}: {kind} '{port.name}': the model's file has {', '.join(known) or 'none'}")
        if port.dtype is not spec.dtype:
            raise Invalid(f"{FILE}: {kind} '{port.name}': expected {spec.dtype.value} as in the model's file; "
                          f"got {port.dtype.value}")  # fmt: skip
        whole = (-1, *port.dims) if size else port.dims
        fits = len(whole) == len(spec.shape) and all(
            -1 in (one, other) or one == other for one, other in zip(whole, spec.shape, strict=True)
        )
        if not fits:
            batch = f" (with max_batch_size {size} the first is the batch)" if size else ""
            raise Invalid(f"{FILE}: {kind} '{port.name}': expected the dimensions of the model's file, "
                          f"{list(spec.shape)}; got {list(whole)}{batch}")  # fmt: skip
