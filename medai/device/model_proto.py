"""What an ONNX file says of itself: inputs, outputs, opset and IR version, read without onnx and without a session.

Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto (messages ModelProto, GraphProto, ValueInfoProto)
"""

from dataclasses import dataclass

from medai.core.error import MedaiError
from medai.device import wire

NAMES = ("undefined", "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool", "float16", "float64")
TYPE_NAMES = dict(enumerate(NAMES))


@dataclass(frozen=True)
class Port:
    """An input or output of a graph.

    Attributes:
        name: Its name.
        dtype: numpy's name of its type, or ``"unknown"``.
        shape: A number a fixed axis, a name (or "?") a free one; None where the file gives no shape.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...] | None

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} ({', '.join(map(str, self.shape)) if self.shape is not None else 'any shape'})"


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a model, and the versions that a runtime must know."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    opset: int
    ir_version: int


def read_signature(model: bytes) -> Signature:
    """Read the signature from the bytes of a .onnx file.

    Inputs that are only the graph's own weights (old exporters list them) are left out.

    Raises:
        MedaiError: the bytes are no ONNX model.
    """
    graph: memoryview | None = None
    opset = ir_version = 0
    for number, _, value in wire.fields(memoryview(model)):
        if number == 1:
            ir_version = wire.integer(value)
        elif number == 7:
            graph = wire.payload(value)
        elif number == 8:
            opset = _opset(wire.payload(value)) or opset
    if graph is None:
        raise MedaiError("not an ONNX model: it holds no graph; export it again")
    inputs, outputs, weights = [], [], set()
    for number, _, value in wire.fields(graph):
        if number == 11:
            inputs.append(_port(wire.payload(value)))
        elif number == 12:
            outputs.append(_port(wire.payload(value)))
        elif number == 5:
            weights.add(_tensor_name(wire.payload(value)))
    return Signature(tuple(port for port in inputs if port.name not in weights), tuple(outputs), opset, ir_version)


def _opset(message: memoryview) -> int:
    """The version of the standard operators; 0 for another domain's."""
    domain, version = "", 0
    for number, _, value in wire.fields(message):
        if number == 1:
            domain = wire.text(value)
        elif number == 2:
            version = wire.integer(value)
    return version if domain in ("", "ai.onnx") else 0


def _tensor_name(message: memoryview) -> str:
    return next((wire.text(value) for number, _, value in wire.fields(message) if number == 8), "")


def _port(message: memoryview) -> Port:
    name, dtype, shape = "", "unknown", None
    for number, _, value in wire.fields(message):
        if number == 1:
            name = wire.text(value)
        elif number == 2:
            for kind, _, tensor in wire.fields(wire.payload(value)):
                if kind == 1:
                    dtype, shape = _tensor_type(wire.payload(tensor))
    return Port(name, dtype, shape)


def _tensor_type(message: memoryview) -> tuple[str, tuple[int | str, ...] | None]:
    dtype, shape = "unknown", None
    for number, _, value in wire.fields(message):
        if number == 1:
            dtype = TYPE_NAMES.get(wire.integer(value), "unknown")
        elif number == 2:
            shape = tuple(_dimension(wire.payload(axis)) for kind, _, axis in wire.fields(wire.payload(value)) if kind == 1)
    return dtype, shape


def _dimension(message: memoryview) -> int | str:
    for number, _, value in wire.fields(message):
        if number == 1:
            return wire.integer(value)
        if number == 2:
            return wire.text(value) or "?"
    return "?"
