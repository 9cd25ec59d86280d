"""TensorFlow Serving's REST JSON: predict in row and column form, classify, regress; paths, status, metadata.

Error texts are TensorFlow Serving's where clients may know them. Source: tensorflow/serving, util/json_tensor.cc,
model_servers/http_rest_api_util.cc, model_servers/http_rest_api_handler.cc, g3doc/api_rest.md. Stricter than it in
one thing: whole numbers must lie in the range of 8-bit and 16-bit types too.
"""

from skerry.wire.tfs.body import parse_body
from skerry.wire.tfs.examples import decode_examples, encode_classify, encode_regress
from skerry.wire.tfs.predict import (
    PredictRequest,
    decode,
    decode_predict,
    encode_predict,
    encode_rows,
    images,
    row_value,
)

__all__ = [
    "PredictRequest",
    "decode",
    "decode_examples",
    "decode_predict",
    "encode_classify",
    "encode_predict",
    "encode_regress",
    "encode_rows",
    "images",
    "parse_body",
    "row_value",
]
