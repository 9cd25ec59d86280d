"""WAV bytes to samples: the chunks of a RIFF file, read under limits; no sound is worked on here.

Taken: PCM of 8, 16, 24 and 32 bits and floats of 32 and 64, of any channel count up to MAX_CHANNELS, plain or
WAVE_FORMAT_EXTENSIBLE. A data chunk of size 0xFFFFFFFF is one whose writer did not know its size: it goes to the end.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from skerry.core.errors import Invalid, TooLarge
from skerry.core.names import shown
from skerry.engine.arrays import Array

MAX_SECONDS = 120  # of one request; models that hear one clip at a time take 1 to 30
MAX_RATE = 192_000  # Hz; no converter in use gives more
MIN_RATE = 1_000  # Hz
MAX_CHANNELS = 64
LOUDEST = 1e6  # of float samples, which mostly are 1 at most, or 32768: their powers must fit into float32
MAX_CHUNKS = 1_000  # before the samples; files in use have a handful
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
UNKNOWN = 0xFFFFFFFF
GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")  # what follows the format's number in a sub-format


@dataclass(frozen=True)
class Form:
    """What the `fmt ` chunk says: the kind of a sample, channels, Hz, bits of a sample."""

    kind: int
    channels: int
    rate: int
    bits: int


def read_wav(data: bytes) -> tuple[Array, int]:
    """Return mono samples as float32, -1 to 1 (the mean of the channels), and their rate in Hz.

    Raises Invalid for what is no such file, is damaged or breaks off, TooLarge for more than MAX_SECONDS.
    """
    if data[:4] not in (b"RIFF", b"RF64") or data[8:12] != b"WAVE":
        raise Invalid(f"audio: expected a WAV file; got {len(data)} bytes beginning {shown(data[:12])}")
    form, at = None, 12
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(data):
            raise Invalid(f"audio: the WAV file breaks off: expected a chunk at byte {at} of {len(data)}")
        name, size = struct.unpack_from("<4sI", data, at)
        at += 8
        if name == b"data":
            if form is None:
                raise Invalid("audio: expected the WAV file's 'fmt ' chunk before its 'data'")
            return _samples(form, data, at, size), form.rate
        if at + size > len(data):
            raise Invalid(
                f"audio: the WAV file breaks off: chunk {shown(name)} has {size} bytes, {len(data) - at} are there"
            )
        if name == b"fmt ":
            form = _form(data[at : at + min(size, 64)])
        at += size + size % 2  # chunks begin at even bytes
    raise Invalid(f"audio: expected the WAV file's samples within its first {MAX_CHUNKS} chunks")


def _form(chunk: bytes) -> Form:
    if len(chunk) < 16:
        raise Invalid(f"audio: expected a 'fmt ' chunk of at least 16 bytes; got {len(chunk)}")
    kind, channels, rate, _, step, bits = struct.unpack_from("<HHIIHH", chunk)
    if kind == EXTENSIBLE:
        if len(chunk) < 40 or chunk[26:40] != GUID_TAIL:
            raise Invalid("audio: expected a sub-format of PCM or float; the WAV file names another")
        (kind,) = struct.unpack_from("<H", chunk, 24)
    if (kind, bits) not in ((PCM, 8), (PCM, 16), (PCM, 24), (PCM, 32), (FLOAT, 32), (FLOAT, 64)):
        raise Invalid(
            f"audio: expected PCM of 8, 16, 24 or 32 bits, or floats of 32 or 64; got format {kind} of {bits} bits"
        )
    if not 1 <= channels <= MAX_CHANNELS:
        raise Invalid(f"audio: expected 1 to {MAX_CHANNELS} channels; got {channels}")
    if not MIN_RATE <= rate <= MAX_RATE:
        raise Invalid(f"audio: expected {MIN_RATE} to {MAX_RATE} samples a second; got {rate}")
    if step != channels * bits // 8:
        raise Invalid(
            f"audio: expected {channels * bits // 8} bytes for {channels} samples of {bits} bits; the file says {step}"
        )
    return Form(kind, channels, rate, bits)


def _samples(form: Form, data: bytes, at: int, size: int) -> Array:
    there, step = len(data) - at, form.channels * form.bits // 8
    if size == UNKNOWN:
        size = there - there % step
    if size > there:
        raise Invalid(f"audio: the WAV file breaks off: expected {size} bytes of samples; {there} are there")
    if size % step:
        raise Invalid(f"audio: expected whole samples of {step} bytes; got {size} bytes")
    if size // step > MAX_SECONDS * form.rate:
        raise TooLarge(f"audio: expected at most {MAX_SECONDS} seconds; got {size // step / form.rate:.1f}")
    found = _numbers(form, memoryview(data)[at : at + size])
    return found if form.channels == 1 else found.reshape(-1, form.channels).mean(axis=1, dtype=np.float32)


def _numbers(form: Form, data: memoryview) -> Array:
    """Return every sample as float32; whole numbers of n bits are divided by 2 ** (n - 1)."""
    if form.kind == FLOAT:
        found = np.frombuffer(data, f"<f{form.bits // 8}")
        with np.errstate(over="ignore"):  # what float32 cannot hold is found below
            found = found.astype(np.float32)
        if not (np.abs(found) <= LOUDEST).all():
            raise Invalid(f"audio: the WAV file holds samples that are not numbers of at most {LOUDEST:g}")
        return found
    if form.bits == 8:  # the one size that has no sign: silence is 128
        return (np.frombuffer(data, np.uint8).astype(np.float32) - np.float32(128)) * np.float32(1 / 128)
    if form.bits == 24:
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        return wide.view("<i4")[:, 0].astype(np.float32) * np.float32(2.0**-31)
    return np.frombuffer(data, f"<i{form.bits // 8}").astype(np.float32) * np.float32(2.0 ** (1 - form.bits))
