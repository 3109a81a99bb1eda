"""ONNX tensors (`TensorProto` in a .pb file) as numpy arrays, so that vectors are replayed without the onnx package.

Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto (message TensorProto)
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Shaped

from medai.core.error import MedaiError
from medai.device import wire

DTYPES: dict[int, str] = {
    1: "<f4", 2: "|u1", 3: "|i1", 4: "<u2", 5: "<i2", 6: "<i4", 7: "<i8", 9: "|b1", 10: "<f2", 11: "<f8", 12: "<u4", 13: "<u8",
}  # fmt: skip
FLOAT, INT64, FLOAT16 = 1, 7, 10
EXTERNAL = 1


@dataclass(frozen=True)
class Tensor:
    """A named array.

    Attributes:
        name: The input or output that it belongs to.
        array: Its values, in the byte order of this machine.
    """

    name: str
    array: Shaped[np.ndarray, "..."]


def read_tensor(data: bytes) -> Tensor:
    """Read the bytes of one TensorProto.

    Raises:
        MedaiError: cut short, damaged, of a type without a numpy equal, or with its values in another file.

    Example:
        >>> read_tensor(Path("input_0.pb").read_bytes()).array.shape
        (1, 1, 96, 128)
    """
    dims: list[int] = []
    values: list[Any] = []
    raw: memoryview | None = None
    data_type, name = 0, ""
    for number, kind, value in wire.fields(memoryview(data)):
        if number == 1:
            dims += wire.integers(kind, value)
        elif number == 2:
            data_type = wire.integer(value)
        elif number in (4, 10):
            values += wire.floats(kind, value, "<f4" if number == 4 else "<f8")
        elif number in (5, 7, 11):
            values += wire.integers(kind, value)
        elif number == 8:
            name = wire.text(value)
        elif number == 9:
            raw = wire.payload(value)
        elif number == 14 and wire.integer(value) == EXTERNAL:
            raise MedaiError(f"tensor {name!r} keeps its values in another file, which is not supported; store them in the tensor")
    if data_type not in DTYPES:
        raise MedaiError(f"tensor {name!r} has ONNX data type {data_type}; supported: {', '.join(map(str, DTYPES))}")
    return Tensor(name, _array(name, dims, data_type, raw, values))


def _array(name: str, dims: list[int], data_type: int, raw: memoryview | None, values: list[Any]) -> Shaped[np.ndarray, "..."]:
    dtype = np.dtype(DTYPES[data_type])
    if raw is not None:
        if len(raw) % dtype.itemsize:
            raise MedaiError(f"tensor {name!r} is damaged: {len(raw)} bytes are no whole number of {dtype.itemsize}-byte values")
        flat = np.frombuffer(raw, dtype)
    elif data_type == FLOAT16:  # kept as the bits, in int32_data
        flat = np.array(values, np.uint16).view(np.float16)
    else:
        flat = np.array(values).astype(dtype)
    if min(dims, default=1) < 0 or math.prod(dims) != flat.size:
        raise MedaiError(f"tensor {name!r} is damaged: shape {tuple(dims)} does not fit {flat.size} values")
    return flat.astype(dtype.newbyteorder("="), copy=True).reshape(dims)


def write_tensor(name: str, array: Shaped[np.ndarray, "..."]) -> bytes:
    """The bytes of a TensorProto with `array` in raw_data.

    Raises:
        MedaiError: the dtype has no ONNX equal here.
    """
    types = {np.dtype(code).newbyteorder("="): number for number, code in DTYPES.items()}
    dtype = array.dtype.newbyteorder("=")
    if dtype not in types:
        raise MedaiError(f"tensor {name!r} has dtype {array.dtype}; supported: {', '.join(sorted(str(known) for known in types))}")
    dims = b"".join(wire.field(1, size) for size in array.shape)
    raw = np.ascontiguousarray(array).astype(DTYPES[types[dtype]]).tobytes()
    return dims + wire.field(2, types[dtype]) + wire.field(8, name.encode()) + wire.field(9, raw)
