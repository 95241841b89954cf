# SPDX-License-Identifier: MIT
"""gguf.py - reads and writes GGUF files, and makes random weights, with nothing but Python

A file is two lists: metadata, {key: (type, value)}, in its order, and tensors, [Tensor]. An array is
(ARRAY, (type of its elements, [value])).
"""
import hashlib
import os
import random
import struct
from collections import namedtuple

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
SCALARS = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q",
           I64: "q", F64: "d"}
ALIGNMENT = 32

# shape: as GGML counts, the row's length first. kind: a type of GGML's. data: bytes, or for a large one a list
# of them, in which a number stands for that many zeros.
Tensor = namedtuple("Tensor", "name shape kind data")
TENSOR_F32, TENSOR_F16 = 0, 1


def typed(value):
    """(type, value) for a Python value; a pair is one already."""
    if isinstance(value, tuple):
        return value
    if isinstance(value, list):
        return ARRAY, (typed(value[0])[0], value)
    for kind, python in ((BOOL, bool), (U32, int), (F32, float), (STRING, str)):
        if isinstance(value, python):
            return kind, value
    raise TypeError(f"no type of GGUF: {value!r}")


def packed(kind, value):
    if kind == STRING:
        text = value.encode("utf-8", "surrogateescape")
        return struct.pack("<Q", len(text)) + text
    if kind == ARRAY:
        of, values = value
        return struct.pack("<IQ", of, len(values)) + b"".join(packed(of, v) for v in values)
    return struct.pack("<" + SCALARS[kind], value)


def pieces(tensor):
    return tensor.data if isinstance(tensor.data, list) else [tensor.data]


def size(tensor):
    return sum(piece if isinstance(piece, int) else len(piece) for piece in pieces(tensor))


def write(path, metadata, tensors):
    """Writes a file, zeros as holes in it. Values of `metadata` may be plain ones of Python."""
    head = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(metadata))]
    for key, value in metadata.items():
        kind, value = typed(value)
        head.append(packed(STRING, key) + struct.pack("<I", kind) + packed(kind, value))
    offset = 0
    for t in tensors:
        head.append(packed(STRING, t.name) + struct.pack(f"<I{len(t.shape)}QIQ", len(t.shape), *t.shape,
                                                         t.kind, offset))
        offset += -(-size(t) // ALIGNMENT) * ALIGNMENT
    head = b"".join(head)
    with open(path, "wb") as file:
        file.write(head + bytes(-len(head) % ALIGNMENT))
        for t in tensors:
            for piece in pieces(t):
                if isinstance(piece, int):
                    file.seek(piece, os.SEEK_CUR)
                else:
                    file.write(piece)
            file.write(bytes(-size(t) % ALIGNMENT))
        file.truncate(file.tell())


class Reader:
    """A cursor in a file's bytes."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def scalar(self, kind):
        value, = struct.unpack_from("<" + SCALARS[kind], self.data, self.at)
        self.at += struct.calcsize(SCALARS[kind])
        return value

    def value(self, kind):
        if kind == STRING:
            size = self.scalar(U64)
            self.at += size
            return self.data[self.at - size:self.at].decode("utf-8", "surrogateescape")
        if kind == ARRAY:
            of, n = self.scalar(U32), self.scalar(U64)
            return of, [self.value(of) for _ in range(n)]
        return self.scalar(kind)


def read(path):
    """(metadata, tensors) of a file."""
    with open(path, "rb") as file:
        r = Reader(file.read())
    if r.data[:4] != b"GGUF":
        raise ValueError(f"{path}: not a GGUF file")
    r.at = 8
    n_tensors, n_keys = r.scalar(U64), r.scalar(U64)
    metadata = {}
    for _ in range(n_keys):
        key, kind = r.value(STRING), r.scalar(U32)
        metadata[key] = kind, r.value(kind)
    infos = []
    for _ in range(n_tensors):
        name = r.value(STRING)
        shape = [r.scalar(U64) for _ in range(r.scalar(U32))]
        infos.append((name, shape, r.scalar(U32), r.scalar(U64)))
    start = -(-r.at // ALIGNMENT) * ALIGNMENT
    ends = sorted(offset for *_, offset in infos) + [len(r.data) - start]
    tensors = []
    for name, shape, kind, offset in infos:
        end = min(e for e in ends if e > offset)
        tensors.append(Tensor(name, shape, kind, r.data[start + offset:start + end]))
    return metadata, tensors


def random_floats(seed, n, exponent, kind=TENSOR_F32):
    """n random numbers as bytes: of either sign, their size between 2^exponent and 2^(exponent + 2).

    The bytes of a float are random ones, but for the exponent: that makes millions of weights in no
    time. `seed` is a text; the same text gives the same numbers for ever."""
    words = 4 if kind == TENSOR_F32 else 2
    seed = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "little")
    data = bytearray(random.Random(seed).randbytes(words * n))
    if kind == TENSOR_F32:
        biased = exponent + 127
        if biased % 2:
            biased -= 1  # the lowest bit of the exponent is in the next byte, and random
        high = bytes((b & 0x80) | (biased >> 1) for b in range(256))
    else:
        biased = exponent + 15
        high = bytes((b & 0x83) | ((biased + (b >> 2 & 1)) << 2) for b in range(256))
    data[words - 1::words] = data[words - 1::words].translate(high)
    return bytes(data)


def weight(name, shape, seed="", kind=TENSOR_F32, exponent=None):
    """A tensor of random weights, of variance about 1 / fan-in; a norm's are ones, and a bias is small."""
    n = 1
    for length in shape:
        n *= length
    if exponent is None:
        last = name.split(".")[-1]
        if last == "weight" and len(shape) == 1:
            return Tensor(name, shape, TENSOR_F32, struct.pack("<f", 1.0) * n)
        if last == "bias" or len(shape) == 1:
            exponent = -6
        else:
            fan_in = n // shape[-1]
            exponent = -2 - max(fan_in.bit_length() // 2, 0)
    return Tensor(name, shape, kind, random_floats(f"{seed}/{name}", n, exponent, kind))
