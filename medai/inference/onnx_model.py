"""A stranger's ONNX file: compared with its contract before it is run, and run by ONNX Runtime. No torch, no onnx package."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Shaped

from medai.core.error import MedaiError
from medai.core.file import hash_file
from medai.device import wire
from medai.device.model_proto import Port, Signature, read_signature
from medai.device.session import one_line, open_session
from medai.inference.contract import DTYPES, InputSpec, Resize, VendorContract
from medai.inference.contract_file import read_contract
from medai.inference.vendor import VendorCandidate
from medai.inference.vendor_output import places

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

PASSING = ("Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Dropout")  # they leave the values as they are
APPLIED = {"Sigmoid": "sigmoid", "HardSigmoid": "sigmoid", "Softmax": "softmax"}
LINEAR = ("Gemm", "MatMul", "Add", "Conv", "BatchNormalization", "LayerNormalization")  # what they give has no bounds
EXTERNAL = 1  # TensorProto.DataLocation


def open_onnx(path: Path, contract_path: Path | None) -> VendorCandidate:
    """Open an ONNX file with its contract, and compare the two.

    Args:
        path: The model.
        contract_path: Its contract; None takes the YAML file beside it, of the same name.

    Raises:
        MedaiError: no contract, or one that the file contradicts; one line that shows both.
    """
    if not path.is_file():
        raise MedaiError(f"{path} does not exist; give the vendor's .onnx file")
    model = path.read_bytes()
    try:
        signature = read_signature(model)
    except MedaiError as error:
        raise MedaiError(f"{path}: {error}") from None
    found = contract_path or next((file for file in beside(path) if file.is_file()), None)
    if found is None:
        raise MedaiError(f"{path} needs a contract, which says how to call it: contract=<file>.yaml; the model has {_ports(signature)}")
    contract = read_contract(found)
    try:
        runner = OnnxRunner(path, model, signature, contract)
        return VendorCandidate(path, contract, runner, runner.hashes)
    except MedaiError as error:
        raise MedaiError(f"{contract.path} and {path.name} do not fit: {error}") from None


def beside(path: Path) -> tuple[Path, ...]:
    """Where a contract lies that is not named."""
    return path.with_suffix(".yaml"), path.with_suffix(".yml")


class OnnxRunner:
    """An ONNX file in ONNX Runtime.

    Args:
        path: Of the file; data that it keeps in other files lie beside it.
        model: Its bytes.
        signature: What the file says of its inputs and outputs.
        contract: What the vendor says.

    Raises:
        MedaiError: the two do not fit.
    """

    kind = "onnx"

    def __init__(self, path: Path, model: bytes, signature: Signature, contract: VendorContract) -> None:
        self.path = path
        port = _input(signature, contract.input)
        _check_size(contract.input, port)
        self.dtype = _dtype(contract.input, port)
        self.channels = _channels(contract.input, port)
        self.batch = _fixed(port, contract.input.layout, "N")
        self._name, self._outputs = port.name, _outputs(signature, contract)
        _check_columns(signature, contract, self._outputs)
        self.doubts = _check_activation(model, contract, self._outputs)
        files = external_files(path, model)
        self.hashes = {path.name: hash_file(path)} | {file.name: hash_file(file) for file in files}
        self.facts = {"ONNX": f"opset {signature.opset}, IR {signature.ir_version}"}
        # Bytes, so that what was checked is what runs; data in other files are found from the path alone.
        self._source: bytes = cast(Any, str(path)) if files else model
        self._session: InferenceSession | None = None

    def run(self, batch: Shaped[np.ndarray, "..."]) -> dict[str, Shaped[np.ndarray, "..."]]:
        """The outputs that the contract names, for a batch in the model's layout and type."""
        import onnxruntime

        if self._session is None:
            self._session = open_session(self._source, "the model")
            self.facts["Runtime"] = f"onnxruntime {onnxruntime.__version__}"
        try:
            values = self._session.run(list(self._outputs), {self._name: batch})
        except Exception as error:  # onnxruntime raises its own types, which differ between releases
            raise MedaiError(f"the model failed on an input of shape {batch.shape}, {batch.dtype}: {one_line(error)}") from None
        return dict(zip(self._outputs, values, strict=True))


def _input(signature: Signature, spec: InputSpec) -> Port:
    """The one input of the file."""
    if len(signature.inputs) != 1:
        listed = "; ".join(map(str, signature.inputs)) or "none"
        what = f"the model takes {len(signature.inputs)} inputs ({listed})"
        raise MedaiError(f"{what}, and medai gives it one image; ask for an export with the others built in")
    port = signature.inputs[0]
    if spec.name is not None and spec.name != port.name:
        raise MedaiError(f"input.name is {spec.name!r}, and the model's input is {port}")
    if port.shape is not None and len(port.shape) != len(spec.layout):
        raise MedaiError(f"input.layout {spec.layout} has {len(spec.layout)} axes, and the model's input is {port}")
    return port


def _check_size(spec: InputSpec, port: Port) -> None:
    """Compare the size, and refuse axes that lie elsewhere than the layout says."""
    channels, height, width = (_fixed(port, spec.layout, axis) for axis in "CHW")
    if channels is not None and channels not in (1, 3):
        other = _other_layout(port, spec.layout)
        raise MedaiError(f"input.layout {spec.layout} makes {channels} channels of the model's input {port}{other}")
    plan: Resize | None = spec.resize
    for name, wanted, given in (("height", height, plan and plan.height), ("width", width, plan and plan.width)):
        if wanted is None:
            continue
        if given is None:
            raise MedaiError(f"input.size is native, and the model takes images of one {name} only, {wanted}: {port}")
        if wanted != given:
            raise MedaiError(f"input.size asks for a {name} of {given}, and the model's input is {port}")


def _other_layout(port: Port, layout: str) -> str:
    swapped = {"NCHW": "NHWC", "NHWC": "NCHW", "CHW": "HWC", "HWC": "CHW"}.get(layout, "")
    return f"; this looks like {swapped}" if swapped and _fixed(port, swapped, "C") in (1, 3) else ""


def _fixed(port: Port, layout: str, axis: str) -> int | None:
    """The size of one axis, where the file fixes it."""
    if port.shape is None or axis not in layout:
        return None
    size = port.shape[layout.index(axis)]
    return size if isinstance(size, int) and size > 0 else None


def _dtype(spec: InputSpec, port: Port) -> str:
    if port.dtype not in DTYPES:
        raise MedaiError(f"the model's input is {port}, and medai gives numbers: {', '.join(DTYPES)}")
    if spec.dtype is not None and spec.dtype != port.dtype:
        raise MedaiError(f"input.dtype is {spec.dtype}, and the model's input is {port}")
    return port.dtype


def _channels(spec: InputSpec, port: Port) -> int:
    fixed = 1 if "C" not in spec.layout else _fixed(port, spec.layout, "C")
    if fixed is not None and spec.channels not in (None, fixed):
        raise MedaiError(f"input.channels is {spec.channels}, and the model's input is {port}")
    found = fixed or spec.channels
    if found is None:
        raise MedaiError(f"input.channels is missing, and the model leaves it open: {port}; set 1 or 3")
    return found


def _outputs(signature: Signature, contract: VendorContract) -> tuple[str, ...]:
    """The outputs that the labels name, each once."""
    names = [port.name for port in signature.outputs]
    listed = "; ".join(map(str, signature.outputs))
    wanted: list[str] = []
    for entry in contract.labels:
        if entry.output is None and len(names) != 1:
            raise MedaiError(f"output.name is missing, and the model has {len(names)} outputs: {listed}")
        name = names[0] if entry.output is None else entry.output
        if name not in names:
            raise MedaiError(f"output.name is {name!r}, and the model's output is {listed}")
        wanted.append(name)
    return tuple(dict.fromkeys(wanted))


def _check_columns(signature: Signature, contract: VendorContract, outputs: Sequence[str]) -> None:
    """The number of columns, where the file gives it."""
    for port in signature.outputs:
        if port.name not in outputs:
            continue
        if port.dtype not in DTYPES:
            raise MedaiError(f"the model's output is {port}, which is no tensor of numbers; ask for an export without ZipMap or sequences")
        shape = port.shape or ()
        behind = [size for size in shape[1:] if size != 1] if "N" in contract.input.layout else [size for size in shape if size != 1]
        if len(behind) > 1:
            raise MedaiError(f"the model's output is {port}, which is a map and no score; name the one with scores (output.name)")
        width = behind[0] if behind else 1
        if port.shape is not None and isinstance(width, int):
            places([entry for entry in contract.labels if entry.output in (None, port.name)], width, port.name)


def _check_activation(model: bytes, contract: VendorContract, outputs: Sequence[str]) -> list[str]:
    """Refuse to apply what the graph has applied: a sigmoid of a sigmoid lies in [0.5, 0.73]; doubt that logits are probabilities."""
    last, doubts = {name: last_operator(model, name) for name in outputs}, {}
    for entry in contract.labels:
        name = entry.output or outputs[0]
        done = APPLIED.get(last[name])
        if done and entry.activation != "none":
            what = f"output {name!r} comes out of a {last[name]}, and the contract applies {entry.activation} to it once more"
            raise MedaiError(f"{what} for {entry.label.name!r}; set activation: none")
        if last[name] in LINEAR and entry.activation == "none":
            what = f"The output {name!r} comes out of a {last[name]}, with no sigmoid or softmax behind it, and the contract applies none"
            doubts[name] = f"{what}: if these are logits, activation is sigmoid or softmax."
    return list(doubts.values())


def last_operator(model: bytes, output: str) -> str:
    """The operator that makes the values of an output; empty where it is not found.

    Args:
        model: Bytes of an .onnx file.
        output: Name of the output.
    """
    made: dict[str, tuple[str, str]] = {}
    for node in _in_graph(model, 1):
        source, results, operator = "", [], ""
        for number, _, value in wire.fields(node):
            if number == 1 and not source:
                source = wire.text(value)
            elif number == 2:
                results.append(wire.text(value))
            elif number == 4:
                operator = wire.text(value)
        made |= dict.fromkeys(results, (operator, source))
    for _ in range(len(made) + 1):
        operator, source = made.get(output, ("", ""))
        if operator not in PASSING:
            return operator
        output = source
    return ""


def external_files(path: Path, model: bytes) -> list[Path]:
    """The files in which an ONNX file keeps its weights; they must lie beside it.

    Raises:
        MedaiError: one is missing, or its name leads elsewhere.
    """
    names: dict[str, None] = {}
    for tensor in _in_graph(model, 5):
        external, entries = False, {}
        for number, kind, value in wire.fields(tensor):
            if number == 14 and kind == wire.VARINT:
                external = wire.integer(value) == EXTERNAL
            elif number == 13:
                pair = {key: wire.text(part) for key, _, part in wire.fields(wire.payload(value))}
                entries[pair.get(1, "")] = pair.get(2, "")
        if external:
            names[entries.get("location", "")] = None
    files = [path.parent / name for name in names]
    for name, file in zip(names, files, strict=True):
        if not name or name != Path(name).name or "\\" in name or ":" in name or name in (".", "..") or file.is_symlink():
            raise MedaiError(f"the model keeps weights in {name!r}, which leads outside of its folder; do not use this file")
        if not file.is_file():
            raise MedaiError(f"the model keeps weights in {name}, which is not beside it; put it into {path.parent}")
    return files


def _in_graph(model: bytes, wanted: int) -> list[memoryview]:
    """The messages of one field of the graph: 1 the nodes, 5 the weights."""
    graphs = [wire.payload(value) for number, _, value in wire.fields(memoryview(model)) if number == 7]
    return [wire.payload(value) for graph in graphs for number, _, value in wire.fields(graph) if number == wanted]


def _ports(signature: Signature) -> str:
    inputs, outputs = ("; ".join(map(str, ports)) or "none" for ports in (signature.inputs, signature.outputs))
    return f"the input {inputs} and the output {outputs}"
