"""EfficientNet-lite0: EfficientNet-B0 without squeeze-and-excite and with ReLU6, made for phones and for int8.

Architecture: Tan and Le 2019 (arXiv:1905.11946, table 1) with the changes of the "lite" family. The published weights come
from TensorFlow, which pads as little as the stride needs, and more at the end than at the beginning; so does this network.
"""

import math

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

# Kernel, stride of the first block, expansion of the width inside a block, channels, blocks: one row a stage.
STAGES = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4), (3, 1, 6, 320, 1))
STEM_CHANNELS, HEAD_CHANNELS = 32, 1280
NORM_EPSILON = 1e-3  # of the published weights; the momentum stays torch's, since trainings here are short


class Unit(nn.Module):
    """A convolution with TensorFlow's "SAME" padding, batch norm and, unless it is linear, ReLU6."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, linear: bool = False) -> None:
        super().__init__()
        self.strided = stride > 1
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride, 0 if self.strided else kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=NORM_EPSILON)
        self.activation: nn.Module = nn.Identity() if linear else nn.ReLU6()

    def forward(self, x: Float[Tensor, "N inputs H W"]) -> Float[Tensor, "N outputs h w"]:
        padded = pad_for_stride_two(x, self.convolution.kernel_size[0]) if self.strided else x
        y: Tensor = self.activation(self.norm(self.convolution(padded)))
        return y


class Block(nn.Module):
    """Widen, filter each channel, narrow; with a short cut where the shape stays (MobileNetV2's inverted residual)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.expand: nn.Module = Unit(inputs, width) if expansion > 1 else nn.Identity()
        self.depthwise = Unit(width, width, kernel, stride, groups=width)
        self.project = Unit(width, outputs, linear=True)
        self.short_cut = stride == 1 and inputs == outputs

    def forward(self, x: Float[Tensor, "N inputs H W"]) -> Float[Tensor, "N outputs h w"]:
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return y + x if self.short_cut else y


class EfficientNetLite0(nn.Module):
    """Stem, sixteen blocks, head, classifier: 3.4 M parameters besides the classifier.

    Args:
        in_channels: Channels of the input.
        out_channels: Outputs of the network.
        stem_stride: Stride of the stem: 1 keeps small images whole.
        dropout: Rate before the last layer; the published weights were trained with 0.2.
    """

    def __init__(self, in_channels: int, out_channels: int, stem_stride: int = 2, dropout: float = 0.2) -> None:
        super().__init__()
        self.stem = Unit(in_channels, STEM_CHANNELS, 3, stem_stride)
        blocks: list[nn.Module] = []
        inputs = STEM_CHANNELS
        for kernel, stride, expansion, outputs, count in STAGES:
            for place in range(count):
                blocks.append(Block(inputs, outputs, kernel, stride if place == 0 else 1, expansion))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = Unit(inputs, HEAD_CHANNELS)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(HEAD_CHANNELS, out_channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
                nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N out"]:
        features = self.head(self.blocks(self.stem(x))).mean(dim=(2, 3))
        outputs: Tensor = self.classifier(self.dropout(features))
        return outputs


def pad_for_stride_two(x: Float[Tensor, "N C H W"], kernel: int) -> Float[Tensor, "N C h w"]:
    """Zeros as TensorFlow's "SAME" adds them before a convolution of stride two with an odd kernel.

    (ceil(n / 2) - 1) * 2 + kernel - n zeros in all, the smaller half in front: for even n one less in front than behind,
    so that an image of even size is sampled one pixel further on than with torch's symmetric padding.
    """
    rows, columns, half = x.shape[2], x.shape[3], kernel // 2
    return functional.pad(x, (half - 1 + columns % 2, half, half - 1 + rows % 2, half))
