"""A predictor as one ONNX graph that any runtime of the last years loads."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

from medai.core.error import MedaiError
from medai.device.record import OUTPUTS
from medai.device.session import one_line

if TYPE_CHECKING:
    import onnx

OPSET, IR_VERSION = 18, 8  # loaded by ONNX Runtime from 1.15 on (tried)
LARGEST_FILE = 2**31 - 2**20  # bytes: protocol buffers end at 2 GiB
EXAMPLE = (2, 83, 71)  # N, H, W: unlike each other and unlike any network's size, so that none is taken for fixed


def export_graph(predictor: nn.Module, channels: int, *, opset: int = OPSET, ir_version: int = IR_VERSION) -> bytes:
    """Export to the bytes of an .onnx file: input ``pixels`` (N, C, H, W) with N, H and W free, outputs as the package has them.

    Args:
        predictor: `medai.training.predictor.Predictor`, or any module from pixels to (probability, logit, decision).
        channels: C.
        opset: Version of the standard operators.
        ir_version: Version of the file format.

    Raises:
        MedaiError: an operation that does not export, or a graph that is not as asked for.
    """
    count, height, width = EXAMPLE
    pixels = torch.rand((count, channels, height, width), generator=torch.Generator().manual_seed(0))
    with _quiet(), on_cpu(predictor) as module:
        try:
            program = torch.onnx.export(
                module, (pixels,), dynamo=True, opset_version=opset, input_names=["pixels"], output_names=list(OUTPUTS),
                dynamic_shapes=({0: "N", 2: "H", 3: "W"},), verbose=False,
            )  # fmt: skip
            assert program is not None  # dynamo=True always gives one
            model = program.model_proto
        except Exception as error:  # torch.export and the exporter raise dozens of types
            cause = error.__cause__ or error
            reason = one_line(cause).replace(" See the stack trace for more information.", "")
            raise MedaiError(f"the model does not export to ONNX: {reason}; replace the operation that is named") from None
    model.ir_version = ir_version
    _clean(model)
    _check(model, opset)
    data: bytes = model.SerializeToString()
    return data


def _clean(model: "onnx.ModelProto") -> None:
    """Drop what only debugging needs: stack traces with paths of this machine, and inferred shapes."""
    model.ClearField("metadata_props")
    model.ClearField("doc_string")
    model.graph.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    model.graph.name = "predictor"
    parts = [*model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output]
    parts += [node for function in model.functions for node in function.node]
    for part in parts:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def _check(model: "onnx.ModelProto", opset: int) -> None:
    import onnx

    found = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    if found != {"ai.onnx": opset}:
        raise MedaiError(f"the exported graph uses operators {found}, asked for was ai.onnx {opset}; an operation needs a newer opset")
    if model.ByteSize() > LARGEST_FILE:
        raise MedaiError(f"the model has {model.ByteSize():,} bytes; a package holds at most {LARGEST_FILE:,} in one file")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise MedaiError(f"the exported graph is not valid ONNX: {one_line(error)}") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's notices: about torchvision, which is absent on purpose, and its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def on_cpu(predictor: nn.Module) -> Iterator[nn.Module]:
    """The module in evaluation mode on the processor (a GPU may round to TF32); afterwards its mode and device are as before."""
    training = predictor.training
    device = next((value.device for value in [*predictor.parameters(), *predictor.buffers()]), torch.device("cpu"))
    try:
        yield predictor.eval().cpu()
    finally:
        predictor.train(training).to(device)
