"""A narrow residual network for small images and small machines (ResNet of He et al. 2016, section 4.2)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Block(nn.Module):
    """Two 3 x 3 convolutions and a short cut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.short_cut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.short_cut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Float[Tensor, "N inputs H W"]) -> Float[Tensor, "N outputs h w"]:
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.short_cut(x))


class ResidualSmall(nn.Module):
    """A 3 x 3 stem and stages of residual blocks that double the width and halve the size.

    With width 16, three stages and three blocks it is the ResNet-20 of the CIFAR experiments: 0.27 M parameters.

    Args:
        in_channels: Channels of the input.
        out_channels: Outputs of the network.
        width: Channels of the first stage.
        stages: Number of stages.
        blocks: Blocks in each stage.
        stem_stride: Stride of the stem: 1 keeps small images whole.
        dropout: Rate before the last layer.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        width: int = 16,
        stages: int = 3,
        blocks: int = 3,
        stem_stride: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(in_channels, width, 3, stem_stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        layers: list[nn.Module] = []
        inputs = width
        for stage in range(stages):
            outputs = width * 2**stage
            for block in range(blocks):
                layers.append(Block(inputs, outputs, 2 if stage and block == 0 else 1))
                inputs = outputs
        self.stages = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(inputs, out_channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N out"]:
        features = self.stages(self.stem(x)).mean(dim=(2, 3))
        outputs: Tensor = self.classifier(self.dropout(features))
        return outputs
