"""What is told of a model that ONNX Runtime cannot load."""

import pytest
from onnx import TensorProto, helper

from medai.core.error import MedaiError
from medai.device.session import open_session


def _model(opset: int, ir_version: int) -> bytes:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])], "g", [value], [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = ir_version
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(("opset", "ir_version", "said"), [(99, 8, "Opset 99"), (18, 99, "IR version: 99")])
def test_a_model_that_is_too_new_is_told_without_the_runtimes_own_code(opset: int, ir_version: int, said: str) -> None:
    with pytest.raises(MedaiError, match=f"{said}.*; a newer onnxruntime may load it") as caught:
        open_session(_model(opset, ir_version), "the model")
    assert "::" not in str(caught.value) and ".cc:" not in str(caught.value)


def test_a_damaged_model_asks_for_no_newer_runtime() -> None:
    with pytest.raises(MedaiError, match="cannot be loaded by onnxruntime") as caught:
        open_session(b"no model", "the model")
    assert "newer" not in str(caught.value)
