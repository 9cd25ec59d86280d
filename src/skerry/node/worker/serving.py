"""Plain tensors by TensorFlow Serving's protocols: predict, classify and regress, over REST and over gRPC."""

from __future__ import annotations

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
        scores, manifest = self._scores(tensors_of(arrays)), self._session.manifest
        rows = [list(zip(manifest.labels, row, strict=False)) for row in _rows(scores)]
        return Made(examples.encode_classify(manifest.name, manifest.version, rows), Kind.PROTO)

    def _grpc_regressed(self, arrays: Named) -> Made:
        manifest = self._session.manifest
        values = [value for row in _rows(self._value(tensors_of(arrays))) for value in row]
        return Made(examples.encode_regress(manifest.name, manifest.version, values), Kind.PROTO)

    def _scores(self, found: list[Tensor]) -> Tensor:
        """Return the output that scores the classes; raise Invalid for a model that has no labels for them."""
        name, labels = self._session.manifest.name, self._session.manifest.labels
        if not labels:
            raise Invalid(f"model {name}: classify needs labels, which it has none of; ask :predict")
        return self._only(found, "classify")

    def _value(self, found: list[Tensor]) -> Tensor:
        return self._only(found, "regress")

    def _only(self, found: list[Tensor], verb: str) -> Tensor:
        floats = [tensor for tensor in found if tensor.dtype in _FLOATS]
        if len(floats) != 1:
            name = self._session.manifest.name
            raise Invalid(f"model {name}: {verb} needs one output of floats; it has {len(floats)}; ask :predict")
        return floats[0]

    @staticmethod
    def _check_signature(chosen: tfs_grpc.Chosen) -> None:
        if chosen.signature not in ("", tfs_grpc.SIGNATURE):
            raise Invalid(f'Serving signature name: "{chosen.signature}" not found in signature def')


def _rows(tensor: Tensor) -> list[list[float]]:
    """Return the values of [batch] or [batch, n] by row."""
    if len(tensor.shape) not in (1, 2):
        raise Invalid(f"output '{tensor.name}': expected the shape [batch] or [batch, n]; got {list(tensor.shape)}")
    values = [float(value) for value in unpack(tensor)]
    width = tensor.shape[1] if len(tensor.shape) == 2 else 1
    return [values[row * width : (row + 1) * width] for row in range(tensor.shape[0])]
