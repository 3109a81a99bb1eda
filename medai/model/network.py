"""The networks that configs/model/ names: MONAI's, with a stem that fits the size of the images.

Each takes ``in_channels``, ``out_channels`` and the input's ``height`` and ``width`` in pixels, and gives a module
(N, in_channels, height, width) -> (N, out_channels). A network of your own is named by its class and is called with
``in_channels`` and ``out_channels``, and with ``height`` and ``width`` where its signature has them.

``normalise`` maps the input from [0, 1] to what published weights expect: ``imagenet``, ``symmetric`` or ``none``
(`medai.model.normalise`).
"""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from medai.core.error import MedaiError
from medai.core.target import build, locate
from medai.model.efficientnet_lite import EfficientNetLite0
from medai.model.normalise import normalised
from medai.model.residual import ResidualSmall

SMALL_IMAGE = 64  # pixels; below it a stem that divides the size by four leaves too little


def residual_small(
    in_channels: int, out_channels: int, height: int, width: int, channels: int = 16, blocks: int = 3, dropout: float = 0.0
) -> nn.Module:
    """A narrow residual network; larger images get a strided stem and more stages, up to a last map of about 7 pixels."""
    side = min(height, width)
    stem_stride = 1 if side < SMALL_IMAGE else 2
    stages = 3 if side // stem_stride < SMALL_IMAGE else 4
    return ResidualSmall(in_channels, out_channels, channels, stages, blocks, stem_stride, dropout)


def resnet18(in_channels: int, out_channels: int, height: int, width: int, normalise: str = "none") -> nn.Module:
    """ResNet-18, 11 M parameters (He et al. 2016)."""
    from monai.networks.nets import resnet18 as monai_resnet18

    module: nn.Module = monai_resnet18(spatial_dims=2, n_input_channels=in_channels, num_classes=out_channels, **_stem(height, width))
    return normalised(module, normalise, in_channels)


def resnet50(in_channels: int, out_channels: int, height: int, width: int, normalise: str = "none") -> nn.Module:
    """ResNet-50, 24 M parameters (He et al. 2016)."""
    from monai.networks.nets import resnet50 as monai_resnet50

    module: nn.Module = monai_resnet50(spatial_dims=2, n_input_channels=in_channels, num_classes=out_channels, **_stem(height, width))
    return normalised(module, normalise, in_channels)


def densenet121(in_channels: int, out_channels: int, height: int, width: int, dropout: float = 0.0, normalise: str = "none") -> nn.Module:
    """DenseNet121, 7 M parameters (Huang et al. 2017)."""
    from monai.networks.nets import DenseNet121

    module: nn.Module = DenseNet121(spatial_dims=2, in_channels=in_channels, out_channels=out_channels, dropout_prob=dropout)
    if min(height, width) < SMALL_IMAGE:
        features: Any = module.features
        features.conv0 = nn.Conv2d(in_channels, features.conv0.out_channels, 3, 1, 1, bias=False)
        features.pool0 = nn.Identity()
        nn.init.kaiming_normal_(features.conv0.weight)
    return normalised(module, normalise, in_channels)


def efficientnet_b0(in_channels: int, out_channels: int, height: int, width: int, normalise: str = "none") -> nn.Module:
    """EfficientNet-B0, 4 M parameters (Tan and Le 2019); for images under 64 pixels its stem keeps the size."""
    from monai.networks.nets import EfficientNetBN

    module: nn.Module = EfficientNetBN(
        "efficientnet-b0", pretrained=False, spatial_dims=2, in_channels=in_channels, num_classes=out_channels
    )
    if min(height, width) < SMALL_IMAGE:
        stem: Any = module._conv_stem
        module._conv_stem = nn.Conv2d(in_channels, stem.out_channels, 3, 1, 1, bias=False)
        module._conv_stem_padding = nn.Identity()
        nn.init.kaiming_normal_(module._conv_stem.weight, mode="fan_out")
    return normalised(module, normalise, in_channels)


def efficientnet_lite0(
    in_channels: int, out_channels: int, height: int, width: int, dropout: float = 0.2, normalise: str = "symmetric"
) -> nn.Module:
    """EfficientNet-lite0, 3.4 M parameters, for pretrained weights; for images under 64 pixels its stem keeps the size."""
    stem_stride = 1 if min(height, width) < SMALL_IMAGE else 2
    return normalised(EfficientNetLite0(in_channels, out_channels, stem_stride, dropout), normalise, in_channels)


def vit(
    in_channels: int, out_channels: int, height: int, width: int,
    patch_size: int | None = None, hidden_size: int = 192, layers: int = 12, heads: int = 3, dropout: float = 0.0, normalise: str = "none",
) -> nn.Module:  # fmt: skip
    """Vision transformer, by default ViT-Tiny, 5.5 M parameters (Dosovitskiy et al. 2021).

    A `patch_size` of null takes the largest of 16, 8, 7, 4 and 2 pixels that divides the image and gives at least 49 patches.
    """
    if patch_size is None:
        fitting = [size for size in (16, 8, 7, 4, 2) if height % size == 0 and width % size == 0 and height * width >= 49 * size * size]
        if not fitting:
            raise MedaiError(f"vit cannot cut {height} x {width} pixels into patches; choose a preprocessing size that 8 divides")
        patch_size = fitting[0]
    module = _VisionTransformer(in_channels, out_channels, (height, width), patch_size, hidden_size, layers, heads, dropout)
    return normalised(module, normalise, in_channels)


class _VisionTransformer(nn.Module):
    """MONAI's ViT, giving the class outputs alone and without their tanh."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: tuple[int, int],
        patch_size: int,
        hidden_size: int,
        layers: int,
        heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        from monai.networks.nets import ViT

        self.transformer = ViT(
            in_channels, size, patch_size, hidden_size, 4 * hidden_size, layers, heads,
            classification=True, num_classes=out_channels, dropout_rate=dropout, spatial_dims=2, post_activation=None,
        )  # fmt: skip
        for block in self.transformer.blocks:
            block.norm_cross_attn = nn.Identity()  # never used without cross attention; weights without gradient stop DDP

    def forward(self, x: Any) -> Any:
        return self.transformer(x)[0]


FACTORIES = (residual_small, resnet18, resnet50, densenet121, efficientnet_b0, efficientnet_lite0, vit)


def is_network(target: Any) -> bool:
    """Whether a configuration may name `target` as the network: a module class, or a factory of this file."""
    return target in FACTORIES or (inspect.isclass(target) and issubclass(target, nn.Module))


def build_network(node: Mapping[str, Any], *, in_channels: int, out_channels: int, height: int, width: int) -> nn.Module:
    """Build the network that a configuration names."""
    keywords = {"in_channels": in_channels, "out_channels": out_channels, "height": height, "width": width}
    target = locate(str(node.get("_target_", "")))
    if inspect.isclass(target) and is_network(target):
        accepted = inspect.signature(target).parameters
        keywords = {key: value for key, value in keywords.items() if key in accepted}
    module: nn.Module = build(node, "a network", is_network, **keywords)
    _check_shape(module, str(node["_target_"]), (1, in_channels, height, width), out_channels)
    return module


def _check_shape(module: nn.Module, name: str, shape: tuple[int, ...], out_channels: int) -> None:
    """Try a network on an empty image, so that a wrong one is told now and not after the first batch.

    Raises:
        MedaiError: it fails, or gives another number of outputs.
    """
    try:
        with torch.inference_mode():
            outputs = module.eval()(torch.zeros(shape))
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise MedaiError(f"{name} does not take images of shape {shape}: {str(error).splitlines()[0]}") from None
    module.train()
    if not isinstance(outputs, torch.Tensor) or outputs.shape != (1, out_channels):
        got = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        raise MedaiError(f"{name} gives {got} for one image; expected (1, {out_channels}): an output for each label or class")


def _stem(height: int, width: int) -> dict[str, Any]:
    """MONAI's ResNet with the stem of the paper, or 3 x 3 without pooling for small images."""
    if min(height, width) < SMALL_IMAGE:
        return {"conv1_t_size": 3, "conv1_t_stride": 1, "no_max_pool": True}
    return {"conv1_t_size": 7, "conv1_t_stride": 2, "no_max_pool": False}
