"""The protocols' message classes, from binary.py in a pool of our own: they do not clash with a client's copies.

Names are the original ones, such as "inference.ModelInferRequest" and "tensorflow.serving.PredictRequest".
"""

from __future__ import annotations

import base64
import zlib
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from skerry.core.errors import Invalid
from skerry.wire.protos.binary import DESCRIPTORS


def _filled() -> DescriptorPool:
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(zlib.decompress(base64.b64decode(DESCRIPTORS))).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


POOL = _filled()


def message(name: str) -> Any:
    """Return the class of the message of that full name."""
    return GetMessageClass(POOL.FindMessageTypeByName(name))


def read(kind: Any, data: bytes | memoryview) -> Any:
    """Return the message of class `kind` in `data`; raise Invalid if these bytes are none."""
    try:
        return kind.FromString(data)
    except DecodeError:
        raise Invalid(f"{kind.DESCRIPTOR.full_name}: expected a message; got {len(data)} bytes that are none") from None
