"""The layers of a network, from the input to the output."""

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from medai.model.checkpointing import enable_checkpointing
from medai.model.layers import blocks, core, layers
from medai.model.network import build_network


def _network(name: str, size: int = 64) -> nn.Module:
    return build_network({"_target_": f"medai.model.network.{name}"}, in_channels=1, out_channels=2, height=size, width=size)


@pytest.mark.parametrize(
    ("name", "count", "first", "last"),
    [
        ("residual_small", 11, "stem.", "classifier."),
        ("resnet18", 10, "conv1.", "fc."),
        ("densenet121", 9, "features.conv0.", "class_layers.out."),
        ("efficientnet_b0", 19, "_conv_stem.", "_fc."),
        ("efficientnet_lite0", 19, "network.stem.", "network.classifier."),
        ("vit", 14, "transformer.", "transformer.classification_head."),
    ],
)
def test_layers_go_from_the_stem_over_the_blocks_to_the_classifier(name: str, count: int, first: str, last: str) -> None:
    network = _network(name)
    found = layers(network)
    assert len(found) == count
    assert all(parameter.startswith(first) for parameter in found[0][:1])
    assert all(parameter.startswith(last) for parameter in found[-1])
    assert sorted(parameter for layer in found for parameter in layer) == sorted(parameter for parameter, _ in network.named_parameters())


def test_a_norm_counts_with_the_convolution_before_it_and_a_token_with_the_first_layer() -> None:
    assert layers(_network("resnet18"))[0] == ["conv1.weight", "bn1.weight", "bn1.bias"]
    assert "transformer.cls_token" in layers(_network("vit"))[0]


def test_layers_are_the_same_inside_a_wrapper_and_with_checkpointing() -> None:
    network = _network("resnet18")
    plain = layers(network)
    wrapper = nn.ModuleDict({"network": network, "head": nn.Linear(2, 2)})
    assert layers(wrapper)[:-1] == [[f"network.{name}" for name in layer] for layer in plain]
    enable_checkpointing(network)
    assert layers(network) == plain


def test_layers_are_the_same_where_fsdp_has_spread_the_blocks() -> None:
    network = _network("efficientnet_b0")
    plain = layers(network)
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        for _, _, found in blocks(network):
            for block in found.children():
                fully_shard(block, mesh=init_device_mesh("cpu", (1,)))
        assert type(network._blocks[0]) is not nn.Sequential
        assert layers(network) == plain
    finally:
        torch.distributed.destroy_process_group()


def test_the_core_is_what_wrappers_wrap() -> None:
    network = _network("vit")
    prefix, inner = core(nn.ModuleDict({"network": network, "head": nn.Identity()}))
    assert prefix == "network.transformer."
    assert inner is network.transformer
