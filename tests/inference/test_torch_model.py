from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from medai.core.error import MedaiError
from medai.inference.candidate import open_candidate
from tests.inference.conftest import WriteContract
from tests.inference.network import MeanNet

PIXELS = np.random.default_rng(2).integers(0, 256, (3, 1, 12, 10)).astype(np.float32)
NETWORK = {"_target_": "tests.inference.network.MeanNet", "outputs": 1}


def _taught() -> MeanNet:
    torch.manual_seed(0)
    network = MeanNet()
    network.norm.running_mean.fill_(0.3)
    network.norm.running_var.fill_(2.0)
    return network.eval()


def _contract(write_contract: WriteContract, **changes: Any) -> Path:
    return write_contract("weights.yaml", **({"network": NETWORK, "output": {"name": None, "activation": "sigmoid"}} | changes))


@pytest.mark.parametrize("form", ["safetensors", "state_dict", "lightning", "data parallel"])
def test_weights_with_their_class_answer_as_the_network(tmp_path: Path, write_contract: WriteContract, form: str) -> None:
    network, path = _taught(), tmp_path / ("weights.safetensors" if form == "safetensors" else "weights.pt")
    values = network.state_dict()
    if form == "safetensors":
        save_file(values, path)
    elif form == "lightning":
        torch.save({"epoch": 3, "state_dict": {f"model.{name}": value for name, value in values.items()}}, path)
    else:
        torch.save({f"module.{name}": value for name, value in values.items()} if form == "data parallel" else values, path)
    _contract(write_contract)  # beside the weights
    candidate = open_candidate(path)
    found = candidate.predict(np.stack([candidate.prepare(image) for image in PIXELS]))
    small = torch.nn.functional.interpolate(torch.from_numpy(PIXELS), size=(8, 8), mode="bilinear", antialias=True) / 255
    with torch.inference_mode():
        expected = network(small).numpy()
    np.testing.assert_allclose(found.logit, expected, rtol=1e-4, atol=1e-6)
    assert candidate.kind == "torch" and candidate.facts["Network"] == NETWORK["_target_"]


def test_a_network_that_is_partly_fresh_is_no_model(tmp_path: Path, write_contract: WriteContract) -> None:
    values = _taught().state_dict()
    for name, changed in (("out.bias", {}), ("out.weight", {"out.weight": torch.zeros(4, 1)}), ("norm.running_var", {})):
        kept = {key: value for key, value in values.items() if key != name} | changed
        save_file(kept, tmp_path / "weights.safetensors")
        with pytest.raises(MedaiError, match=rf"the weights are not those of this network: {name} "):
            open_candidate(tmp_path / "weights.safetensors", contract=_contract(write_contract))
    del values["norm.num_batches_tracked"]  # older files lack it, and it plays no part
    save_file(values, tmp_path / "weights.safetensors")
    open_candidate(tmp_path / "weights.safetensors", contract=_contract(write_contract))


class _Bomb:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, ("raise SystemExit('a pickle was run')",)


def test_no_pickle_is_run(tmp_path: Path, write_contract: WriteContract) -> None:
    torch.save({"state_dict": _taught().state_dict(), "hyper_parameters": _Bomb()}, tmp_path / "weights.ckpt")
    with pytest.raises(MedaiError, match=r"is a pickle with objects of .*exec, and reading these could run code"):
        open_candidate(tmp_path / "weights.ckpt", contract=_contract(write_contract))
    torch.save(_taught(), tmp_path / "whole.pt")
    with pytest.raises(MedaiError, match=r"is a pickle with objects of .*MeanNet"):
        open_candidate(tmp_path / "whole.pt", contract=_contract(write_contract))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": None}, r"network is missing; name its class"),
        ({"network": {"_target_": "torch.load", "f": "x"}}, r"torch.load is not a network"),
        ({"network": {"_target_": "os.system"}}, r"os.system is not a network"),
        ({"network": {"_target_": "no.such.Net"}}, r"'no.such.Net' does not exist"),
        ({"network": NETWORK | {"width": 3}}, r"MeanNet does not take these arguments"),
        ({"network": NETWORK | {"outputs": 2}}, r"MeanNet gives \(1, 2\) for one image; expected \(1, 1\)"),
        ({"network": {"_target_": "tests.inference.network.Pair"}}, r"Pair gives tuple for one image"),
        ({"input": {"layout": "NHWC"}}, r"a torch network needs input.layout: NCHW"),
        ({"output": {"name": "prob", "activation": "sigmoid"}}, r"gives one tensor without a name; leave output.name out"),
    ],
)
def test_a_wrong_network_is_said_in_one_line(tmp_path: Path, write_contract: WriteContract, changes: dict[str, Any], message: str) -> None:
    save_file(_taught().state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(MedaiError, match=message) as caught:
        open_candidate(tmp_path / "weights.safetensors", contract=_contract(write_contract, **changes))
    assert "\n" not in str(caught.value)


def test_weights_without_a_contract_ask_for_it(tmp_path: Path) -> None:
    save_file(_taught().state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(MedaiError, match=r"needs a contract with the class of its network"):
        open_candidate(tmp_path / "weights.safetensors")


def test_a_column_of_many_is_chosen(tmp_path: Path, write_contract: WriteContract) -> None:
    torch.manual_seed(1)
    network = MeanNet(outputs=14).eval()
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    label = {"name": "sick", "kind": "binary", "classes": ["no", "yes"], "column": 6}
    contract = _contract(write_contract, network=NETWORK | {"outputs": 14}, labels=[label])
    candidate = open_candidate(tmp_path / "weights.safetensors", contract=contract)
    seen = torch.from_numpy(np.stack([candidate.view(image) for image in PIXELS]))
    with torch.inference_mode():
        np.testing.assert_allclose(candidate.predict(PIXELS).logit[:, 0], network(seen)[:, 6].numpy(), rtol=1e-5)
