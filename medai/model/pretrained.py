"""Start from weights that were trained before, on other data or for another task.

The weights of a file are taken over where name and shape agree. What a file's names begin with and the network's do not
(``module.``, ``state_dict.encoder.``, ``teacher.backbone.``) is found by trying: the text under which most of the network is
found is the one that is meant.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from medai.core.error import MedaiError
from medai.core.file import hash_file
from medai.model.freeze import matches
from medai.model.layers import core
from medai.model.renaming import names_elsewhere
from medai.model.weights_file import find_weights, read_weights

TAKEN = "taken"
ADAPTED = "first convolution adapted"
ZERO = "set to zero (the file's layer has none)"
HEAD = "head left out (other shape)"
SHAPE = "left out (other shape)"
MISSING = "not in the file"
LEFT_OUT = "left out (asked for)"
USED = (TAKEN, ADAPTED, ZERO)
AVERAGED = ("teacher", "ema", "model_ema", "ema_model", "averaged")  # of two copies of a network, the one that is meant to be used


class Request(Protocol):
    """What is asked for: `medai.training.settings.PretrainedSettings`, which says what each means."""

    path: str | None
    prefix: str | None
    leave_out: list[str]
    smallest_share: float


@dataclass(frozen=True)
class Row:
    """What happened to one tensor of the network.

    Attributes:
        name: In the network.
        shape: In the network.
        outcome: One of the outcomes of this module.
        source: Name in the file; empty where it has none.
        source_shape: Shape in the file.
    """

    name: str
    shape: tuple[int, ...]
    outcome: str
    source: str = ""
    source_shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class LoadedWeights:
    """What was taken over from a file.

    Attributes:
        path: As it was asked for.
        sha256: Of the file.
        prefix: What the file's names begin with.
        rows: A row a tensor of the network.
        unused: Names of the file that nothing was taken from.
        share: Share of the network's values that were taken.
    """

    path: str
    sha256: str
    prefix: str
    rows: tuple[Row, ...]
    unused: tuple[str, ...]
    share: float

    def to_dict(self) -> dict[str, Any]:
        """All of it, for the run's folder."""
        return asdict(self)

    def table(self) -> str:
        """A few lines for people: what happened to each part of the network."""
        found: dict[tuple[str, str], list[Row]] = {}
        for row in self.rows:
            found.setdefault((row.name.split(".")[0], row.outcome), []).append(row)
        width = max(len(part) for part, _ in found)
        lines = [f"{self.share:.1%} of the network's values are taken from {self.path}"]
        lines += [f"  {part:{width}}  {_count(rows)} {outcome}{_shapes(rows[0])}" for (part, outcome), rows in found.items()]
        if self.unused:
            lines.append(f"  not used of the file: {_count(self.unused)}, e.g. {self.unused[0]}")
        return "\n".join(lines)


def load_pretrained(network: nn.Module, request: Request) -> LoadedWeights:
    """Take over the weights that a file and a network share.

    Args:
        network: Changed in place; before it is wrapped or compiled.
        request: The file, and how much of the network must be in it.

    Returns:
        What happened to each tensor.

    Raises:
        MedaiError: the file cannot be read, or holds too little of the network.
    """
    path = str(request.path)
    file = find_weights(path)
    values = read_weights(file)
    _, inner = core(network)
    own: dict[str, Tensor] = inner.state_dict()
    prefix = _prefix(own, values, request.prefix)
    rows = tuple(_rows(inner, own, values, prefix, request.leave_out))
    used = {row.source for row in rows if row.outcome in USED}
    unused = tuple(name for name in values if name not in used)
    share = sum(own[row.name].numel() for row in rows if row.outcome in USED) / sum(value.numel() for value in own.values())
    if share < request.smallest_share:
        what = f"{path} holds {share:.1%} of the network, less than pretrained.smallest_share={request.smallest_share}"
        raise MedaiError(f"{what}; the network has {_examples(own)}; the file has {_examples(values)}")
    _take(own, rows, values)
    return LoadedWeights(path, hash_file(file), prefix, rows, unused, share)


def adapt_channels(weight: Float[Tensor, "out k *size"], channels: int) -> Float[Tensor, "out n *size"]:
    """The first convolution for another number of input channels.

    To one channel, the weights are summed: a grey image gives what the same image gave in equal colours. To more channels,
    they are repeated in turn and scaled by k / n, so that an image whose channels are equal gives about what it gave before.

    Example:
        >>> adapt_channels(torch.ones(8, 3, 5, 5), 1)[0, 0, 0, 0]
        tensor(3.)
    """
    have = weight.shape[1]
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    return weight[:, [index % have for index in range(channels)]] * (have / channels)


def _prefix(own: Mapping[str, Tensor], values: Mapping[str, Tensor], wanted: str | None) -> str:
    """What the file's names begin with: the text under which most values of the network lie; averaged weights win a tie."""
    targets = {other: name for name in reversed(list(own)) for other in reversed(names_elsewhere(name))}
    found: dict[str, int] = {}
    for name, value in values.items():
        parts = name.split(".")
        for start in range(len(parts)):
            target = targets.get(".".join(parts[start:]))
            if target and own[target].shape == value.shape:
                prefix = "".join(f"{part}." for part in parts[:start])
                found[prefix] = found.get(prefix, 0) + value.numel()
    if wanted is not None:
        fitting = {prefix: size for prefix, size in found.items() if prefix.rstrip(".").endswith(wanted.rstrip("."))}
        if found and not fitting:
            most = max(found, key=lambda prefix: found[prefix])
            raise MedaiError(f"pretrained.prefix={wanted!r} leads to no weights of the network; {most!r} would lead to most of them")
        found = fitting
    return max(found, key=lambda prefix: (found[prefix], not set(AVERAGED).isdisjoint(prefix.split("."))), default="")


def _rows(inner: nn.Module, own: Mapping[str, Tensor], values: Mapping[str, Tensor], prefix: str, leave_out: Sequence[str]) -> list[Row]:
    first, last = _ends(inner)
    rows: dict[str, Row] = {}
    for name, value in own.items():
        source = next((prefix + other for other in names_elsewhere(name) if prefix + other in values), "")
        shape, other = tuple(value.shape), tuple(values[source].shape) if source else ()
        layer, _, kind = name.rpartition(".")
        weight = rows.get(f"{layer}.weight")
        if matches(name, leave_out):
            outcome = LEFT_OUT
        elif not source:
            outcome = ZERO if kind == "bias" and weight and weight.outcome in USED else MISSING
        elif weight and weight.outcome in (HEAD, SHAPE):
            outcome = weight.outcome
        elif shape == other:
            outcome = TAKEN
        elif name == f"{first}.weight" and len(shape) == len(other) and shape[:1] + shape[2:] == other[:1] + other[2:]:
            outcome = ADAPTED
        else:
            outcome = HEAD if layer == last else SHAPE
        rows[name] = Row(name, shape, outcome, source, other)
    return list(rows.values())


def _ends(inner: nn.Module) -> tuple[str, str]:
    """The first convolution and the last layer with weights, by name."""
    weighted = [name for name, module in inner.named_modules() if isinstance(getattr(module, "weight", None), Tensor)]
    convolutions = [name for name, module in inner.named_modules() if isinstance(module, _ConvNd)]
    return convolutions[0] if convolutions else "", weighted[-1] if weighted else ""


@torch.no_grad()
def _take(own: Mapping[str, Tensor], rows: Sequence[Row], values: Mapping[str, Tensor]) -> None:
    for row in rows:
        if row.outcome == TAKEN:
            own[row.name].copy_(values[row.source])
        elif row.outcome == ADAPTED:
            own[row.name].copy_(adapt_channels(values[row.source], row.shape[1]))
        elif row.outcome == ZERO:
            own[row.name].zero_()


def _examples(values: Mapping[str, Tensor]) -> str:
    shown = [f"{name} {tuple(value.shape)}" for name, value in values.items() if value.ndim][:3]
    return ", ".join(shown) + (", …" if len(values) > len(shown) else "")


def _count(things: Sequence[Any]) -> str:
    return f"{len(things)} tensor{'' if len(things) == 1 else 's'}"


def _shapes(row: Row) -> str:
    return f": {row.source_shape} -> {row.shape}" if row.outcome in (ADAPTED, HEAD, SHAPE) else ""
