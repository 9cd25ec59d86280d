"""The lane: a second session of a tiny model, in the control process itself, for small requests when nothing waits.

The way to a worker and back costs as much as ten runs of such a model. Only what cannot hurt the node comes here: a
model that its worker has proved, that runs in microseconds, on dense floats, with arithmetic alone, in ONNX Runtime on
the processor, and remembers nothing; and of its requests only small ones. The rest, and everything when others wait,
goes to the worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from skerry.core.errors import RunFailed, SkerryError
from skerry.core.tensor import DType
from skerry.node.worker.life import Worker
from skerry.node.worker.order import Order

MAX_RUN_US = 100.0  # of a model that may run on the event loop, which stands still meanwhile
MAX_BODY = 16 << 10  # bytes of a request; a larger batch would hold up the loop
REGION = b"shared_memory_region"  # in a request whose tensors lie elsewhere: copying them would hold up the loop
FLOATS = (DType.FP32, DType.FP64, DType.FP16)


@dataclass(slots=True)
class Lane:
    """A session that answers at once."""

    answers: Any  # node.worker.answer.Answers; its module is not imported where no model is tiny
    session: Any

    def answer(self, op: int, head: bytes, body: memoryview) -> Any:
        """Return the `Made` of a request; raise SkerryError."""
        try:
            return self.answers(op, head, body)
        except SkerryError:
            raise
        except Exception as error:  # boundary: as in a worker, a fault of ours in one request is its error alone
            raise RunFailed(f"internal error: {type(error).__name__}: {error}") from error

    def quick(self, length: int, body: memoryview) -> Any:
        """Return the `Made` of a request like an earlier one, None if it is not; see node.worker.quick."""
        return self.answers.quick(length, body)

    def close(self) -> None:
        """Free the session."""
        self.session.close()


def suits(worker: Worker) -> bool:
    """Whether a worker's model may have a lane."""
    hello = worker.hello
    floats = all(spec.dtype in FLOATS for spec in (*worker.inputs, *worker.outputs))
    if hello.remembers or "providers" in worker.order.beside.options:
        return False
    return hello.arithmetic and 0 < hello.run_us <= MAX_RUN_US and floats and not hello.images


def open_lane(order: Order) -> Lane:
    """Open a second session of what a worker has loaded and proved; blocks, not to be called on the event loop."""
    found = import_module("skerry.node.worker.beside.alone").open_answers(order)
    return Lane(*found)
