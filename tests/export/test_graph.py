"""medai.export.graph: one graph for every size, equal to torch."""

import re
from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from medai.core.error import MedaiError
from medai.device.model_proto import read_signature
from medai.export.graph import export_graph
from medai.export.parity import OnnxRunner, TorchRunner
from medai.training.predictor import Predictor


def test_the_graph_has_the_contract_of_a_package(graph: bytes) -> None:
    signature = read_signature(graph)
    assert [str(port) for port in signature.inputs] == ["pixels float32 (N, 1, H, W)"]
    assert [str(port) for port in signature.outputs] == ["probability float32 (N, 8)", "logit float32 (N, 8)", "decision int64 (N, 3)"]
    assert (signature.opset, signature.ir_version) == (18, 8)


def test_the_signature_is_what_onnx_reads(graph: bytes) -> None:
    model = onnx.load_model_from_string(graph)
    signature = read_signature(graph)
    for port, value in zip([*signature.inputs, *signature.outputs], [*model.graph.input, *model.graph.output], strict=True):
        assert port.name == value.name
        assert port.shape == tuple(axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim)
    assert {entry.domain for entry in model.opset_import} == {""}
    assert model.ir_version == signature.ir_version


def test_nothing_in_it_names_this_machine(graph: bytes) -> None:
    assert not re.search(rb"/[a-z]+/[a-z_]+|\.py\b|stack_trace", graph)


@pytest.mark.parametrize(("count", "height", "width"), [(1, 28, 32), (3, 28, 32), (1, 777, 901), (2, 17, 400), (1, 2048, 2500), (3, 33, 9)])
def test_any_size_gives_what_torch_gives(
    graph: bytes, predictor: Predictor, phantom: Callable[..., np.ndarray], count: int, height: int, width: int
) -> None:
    pixels = np.stack([phantom(index, (1, height, width), -1024, 3071) for index in range(count)])
    found, expected = OnnxRunner(graph, threads=1)(pixels), TorchRunner(predictor)(pixels)
    np.testing.assert_allclose(found.probability, expected.probability, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.logit, expected.logit, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(found.decision, expected.decision)
    assert found.decision.dtype == np.int64


@pytest.mark.parametrize(("method", "channels", "network_channels"), [("zscore", 1, 3), ("minmax", 3, 1)])
def test_other_intensities_and_channels_export(
    build: Callable[..., Predictor], phantom: Callable[..., np.ndarray], method: str, channels: int, network_channels: int
) -> None:
    predictor = build(channels=network_channels, method=method)
    before = {name: value.clone() for name, value in predictor.state_dict().items()}
    pixels = np.stack([phantom(index, (channels, 60, 75), 0, 255) for index in range(2)])
    found = OnnxRunner(export_graph(predictor.train(), channels), threads=1)(pixels)
    assert predictor.training, "the export changed the mode"
    assert all(torch.equal(value, before[name]) for name, value in predictor.state_dict().items())
    np.testing.assert_allclose(found.probability, TorchRunner(predictor)(pixels).probability, rtol=0, atol=1e-5)


def test_an_operation_that_does_not_export_ends_in_one_line() -> None:
    class Odd(nn.Module):
        def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            value = torch.cumprod(pixels.mean(dim=(2, 3)), dim=1)
            return value, value, (value > 0).to(torch.int64)

    with pytest.raises(MedaiError, match=r"does not export to ONNX: .*node %prod .*; replace the operation that is named") as caught:
        export_graph(Odd(), 1)
    assert "\n" not in str(caught.value)
