"""Plain tensors by TensorFlow Serving's protocols: predict, classify and regress, over REST and over gRPC."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from skerry.core.errors import Invalid
from skerry.core.tensor import DType, Tensor
from skerry.engine.session import Session
from skerry.engine.steps.step import Named
from skerry.node.worker.inference import tensors_of
from skerry.node.worker.made import Made
from skerry.node.worker.opened import Opened
from skerry.node.worker.order import MAX_BODY, Head, Kind
from skerry.wire import tfs, tfs_grpc
from skerry.wire.protos import examples
from skerry.wire.values import unpack

_FLOATS = (DType.FP16, DType.FP32, DType.FP64, DType.BF16)


class Serving:
    """Answers with one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def predict(self, _: Head, body: memoryview) -> Opened:
        """REST `:predict` of tensors."""
        asked = tfs.decode(body, MAX_BODY, self._session.inputs)
        return Opened(asked.inputs, lambda arrays: Made(tfs.encode_predict(tensors_of(arrays), asked.row)))

    def classify(self, _: Head, body: memoryview) -> Opened:
        """REST `:classify`."""
        inputs = tfs.decode_examples(tfs.parse_body(body, MAX_BODY), self._session.inputs)
        return Opened(inputs, self._classified)

    def regress(self, _: Head, body: memoryview) -> Opened:
        """REST `:regress`."""
        inputs = tfs.decode_examples(tfs.parse_body(body, MAX_BODY), self._session.inputs)
        return Opened(inputs, lambda arrays: Made(tfs.encode_regress(self._value(tensors_of(arrays)))))

    def grpc_predict(self, _: Head, body: memoryview) -> Opened:
        """PredictionService.Predict."""
        asked = tfs_grpc.decode_predict(body)
        self._check_signature(asked.chosen)
        return Opened(asked.inputs, partial(self._grpc_predicted, asked))

    def grpc_classify(self, _: Head, body: memoryview) -> Opened:
        """PredictionService.Classify."""
        self._check_signature(tfs_grpc.decode_chosen(body))
        return Opened(examples.decode_examples(body, self._session.inputs), self._grpc_classified)

    def grpc_regress(self, _: Head, body: memoryview) -> Opened:
        """PredictionService.Regress."""
        self._check_signature(tfs_grpc.decode_chosen(body))
        return Opened(examples.decode_examples(body, self._session.inputs), self._grpc_regressed)

    def grpc_multi(self, _: Head, body: memoryview) -> Opened:
        """PredictionService.MultiInference: one run for all tasks."""
        tasks = examples.decode_tasks(body)
        for one in tasks:
            self._check_signature(one.chosen)
        return Opened(examples.decode_examples(body, self._session.inputs), partial(self._grpc_multi, tasks))

    def _classified(self, arrays: Named) -> Made:
        return Made(tfs.encode_classify(self._scores(tensors_of(arrays)), self._session.manifest.labels))

    def _grpc_predicted(self, asked: tfs_grpc.Predict, arrays: Named) -> Made:
        tensors = tensors_of(arrays)
        found = {tensor.name: tensor for tensor in tensors}
        for name in asked.output_filter:
            if name not in found:
                raise Invalid(
                    f"output tensor alias not found in signature: {name} "
                    f"Outputs expected to be in the set {{{','.join(sorted(found))}}}."
                )
        manifest = self._session.manifest
        outputs = [found[name] for name in asked.output_filter] or tensors
        return Made(tfs_grpc.encode_predict(manifest.name, manifest.version, outputs), Kind.PROTO)

    def _grpc_classified(self, arrays: Named) -> Made:
        manifest, rows = self._session.manifest, self._classes(tensors_of(arrays))
        return Made(examples.encode_classify(manifest.name, manifest.version, rows), Kind.PROTO)

    def _grpc_regressed(self, arrays: Named) -> Made:
        manifest, values = self._session.manifest, self._values(tensors_of(arrays))
        return Made(examples.encode_regress(manifest.name, manifest.version, values), Kind.PROTO)

    def _grpc_multi(self, tasks: tuple[examples.Task, ...], arrays: Named) -> Made:
        manifest, found = self._session.manifest, tensors_of(arrays)
        results = []
        for one in tasks:
            classes = self._classes(found) if one.method == examples.CLASSIFY else None
            values = self._values(found) if one.method == examples.REGRESS else None
            results.append(examples.Result(manifest.name, manifest.version, one.chosen.signature, classes, values))
        return Made(examples.encode_results(results), Kind.PROTO)

    def _classes(self, found: list[Tensor]) -> list[list[tuple[str, float]]]:
        labels = self._session.manifest.labels
        return [list(zip(named(labels, len(row)), row, strict=True)) for row in _rows(self._scores(found))]

    def _values(self, found: list[Tensor]) -> list[float]:
        return [value for row in _rows(self._value(found)) for value in row]

    def _scores(self, found: list[Tensor]) -> Tensor:
        """Return the output that scores the classes; raise Invalid for a model that has no labels for them."""
        name, labels = self._session.manifest.name, self._session.manifest.labels
        if not labels:
            raise Invalid(f"model {name}: classify needs labels, which it has none of; ask :predict")
        return self._only(found, f"classify needs one output of {len(labels)} floats", (len(labels),))

    def _value(self, found: list[Tensor]) -> Tensor:
        one = self._only(found, "regress needs one output of one float", (), (1,))
        if one.shape[1:] not in ((), (1,)):
            raise Invalid(
                f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got: {list(one.shape)}"
            )
        return one

    def _only(self, found: list[Tensor], what: str, *rows: tuple[int, ...]) -> Tensor:
        """Return the only output of floats, or of several the only one whose rows have one of the shapes."""
        floats = [tensor for tensor in found if tensor.dtype in _FLOATS]
        if len(floats) != 1:
            floats = [tensor for tensor in floats if tensor.shape[1:] in rows]
        if len(floats) != 1:
            raise Invalid(f"model {self._session.manifest.name}: {what}; it has {len(floats)} such; ask :predict")
        return floats[0]

    @staticmethod
    def _check_signature(chosen: tfs_grpc.Chosen) -> None:
        if chosen.signature not in ("", tfs_grpc.SIGNATURE):
            raise Invalid(f'Serving signature name: "{chosen.signature}" not found in signature def')


def named(labels: Sequence[str], width: int) -> list[str]:
    """Return a label for each of so many classes, "" where there are too few, as TensorFlow Serving does."""
    return [labels[at] if at < len(labels) else "" for at in range(width)]


def _rows(tensor: Tensor) -> list[list[float]]:
    """Return the values of [batch] or [batch, n] by row."""
    if len(tensor.shape) not in (1, 2):
        raise Invalid(f"output '{tensor.name}': expected the shape [batch] or [batch, n]; got {list(tensor.shape)}")
    values = [float(value) for value in unpack(tensor)]
    width = tensor.shape[1] if len(tensor.shape) == 2 else 1
    return [values[row * width : (row + 1) * width] for row in range(tensor.shape[0])]
