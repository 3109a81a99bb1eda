"""Someone's torch weights with the class of their network: no pickle is run, and only a network's class may be named."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import nn

from medai.core.error import MedaiError
from medai.core.file import hash_file
from medai.inference.contract import VendorContract
from medai.inference.contract_file import read_contract
from medai.inference.onnx_model import beside
from medai.inference.vendor import VendorCandidate
from medai.inference.vendor_output import places
from medai.model.network import build_network
from medai.model.pretrained import TAKEN, load_pretrained

OUTPUT = "output"
COUNTER = "num_batches_tracked"  # of a batch norm; it plays no part once the network is trained
PROBE = 64  # pixels; of a network that takes any size


@dataclass
class _Whole:
    """Every tensor is wanted, under whatever prefix the file has them."""

    path: str | None
    prefix: str | None = None
    leave_out: list[str] = field(default_factory=list)
    smallest_share: float = 0.0


def open_torch(path: Path, contract_path: Path | None) -> VendorCandidate:
    """Open a file of weights (safetensors, or what ``torch.load(weights_only=True)`` reads) with its contract.

    Args:
        path: The weights.
        contract_path: Names the network's class beside the rest; None takes the YAML file beside the weights, of the same name.

    Raises:
        MedaiError: no contract, no such network, or weights that are not all of it.
    """
    found = contract_path or next((file for file in beside(path) if file.is_file()), None)
    if found is None:
        what = "it holds weights and no network"
        raise MedaiError(f"{path} needs a contract with the class of its network, since {what}: contract=<file>.yaml")
    contract = read_contract(found)
    try:
        return VendorCandidate(path, contract, TorchRunner(path, contract), {path.name: hash_file(path)})
    except MedaiError as error:
        raise MedaiError(f"{contract.path} and {path.name} do not fit: {error}") from None


class TorchRunner:
    """A network of a named class with the weights of a file, in 32 bits.

    Args:
        path: Of the weights.
        contract: Names the network, and what it takes and gives.

    Raises:
        MedaiError: they do not fit.
    """

    kind = "torch"
    batch: int | None = None
    doubts: tuple[str, ...] = ()

    def __init__(self, path: Path, contract: VendorContract) -> None:
        spec = contract.input
        if contract.network is None:
            raise MedaiError("network is missing; name its class, e.g. network: {_target_: my_package.MyNetwork, outputs: 1}")
        if spec.layout != "NCHW" or spec.dtype not in (None, "float32") or spec.channels is None:
            raise MedaiError("a torch network needs input.layout: NCHW, input.channels: 1 or 3, and no other dtype than float32")
        if any(entry.output is not None for entry in contract.labels):
            raise MedaiError("a torch network gives one tensor without a name; leave output.name out")
        self.channels, self.dtype = spec.channels, "float32"
        height, width = (spec.resize.height, spec.resize.width) if spec.resize else (PROBE, PROBE)
        outputs = _width(contract)
        self._network = build_network(contract.network, in_channels=self.channels, out_channels=outputs, height=height, width=width)
        _fill(self._network, path)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.backends.cudnn.allow_tf32 = False
        self._network.eval().to(self._device)
        self.facts = {"Network": str(contract.network["_target_"]), "Runtime": f"torch {torch.__version__}"}

    def run(self, batch: Shaped[np.ndarray, "..."]) -> dict[str, Shaped[np.ndarray, "..."]]:
        """The network's one output."""
        try:
            with torch.inference_mode():
                result: Any = self._network(torch.from_numpy(batch).to(self._device))
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            raise MedaiError(f"the network failed on images of shape {batch.shape}: {str(error).splitlines()[0]}") from None
        return {OUTPUT: result.float().cpu().numpy()}


def _width(contract: VendorContract) -> int:
    """How many columns the labels need; where they name their columns, up to the last of these."""
    if all(entry.column is None for entry in contract.labels):
        return sum(len(entry.order) for entry in contract.labels)
    width = max((entry.column or 0) + len(entry.order) for entry in contract.labels)
    node = contract.network or {}
    named = next((node[key] for key in ("out_channels", "outputs", "num_classes") if isinstance(node.get(key), int)), width)
    places(contract.labels, max(width, named), OUTPUT)
    return max(width, named)


def _fill(network: nn.Module, path: Path) -> None:
    """Every tensor from the file; a network that is partly fresh is no model."""
    loaded = load_pretrained(network, _Whole(str(path)))
    for row in loaded.rows:
        if row.outcome != TAKEN and not row.name.endswith(COUNTER):
            found = f", and the file's {row.source} has {row.source_shape}" if row.source else ""
            unused = f"; the file has, unused, {loaded.unused[0]}" if loaded.unused else ""
            what = f"{row.name} {row.shape} of the network is {row.outcome}{found}{unused}"
            raise MedaiError(f"the weights are not those of this network: {what}")
