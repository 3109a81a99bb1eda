"""How a network is built: what wraps it, and its layers from the input to the output."""

from collections.abc import Iterator

from torch import nn

LISTS = (nn.Sequential, nn.ModuleList)  # exactly these: a class of its own is one thing, e.g. MONAI's dense block
MOST = 0.9  # a module with more than this share of all weights is the network itself, beside a small head


def core(module: nn.Module) -> tuple[str, nn.Module]:
    """The network inside modules that only wrap one, and what its names begin with, e.g. ``"transformer."``."""
    inner = [(name, child) for name, child in module.named_children() if _size(child)]
    wraps = len(inner) == 1 and not list(module.parameters(recurse=False)) and list(inner[0][1].children())
    if not wraps:
        return "", module
    prefix, found = core(inner[0][1])
    return f"{inner[0][0]}.{prefix}", found


def layers(module: nn.Module) -> list[list[str]]:
    """Names of the parameters by layer, in the order in which the network registers its parts.

    A layer is an element of a list of blocks, or a part outside of such lists; a norm between two of them counts with the one
    before it. Parameters of the network itself, such as a class token, belong to the first layer.

    Returns:
        ResNet-18: stem, eight blocks, classifier. DenseNet121: stem, four dense blocks with a transition between each two,
        classifier. A vision transformer: patches, blocks, classifier.
    """
    found: list[list[str]] = []
    for prefix, unit in _units("", module, _size(module)):
        names = [prefix + name for name, _ in unit.named_parameters()]
        if names and found and all(parameter.ndim <= 1 for parameter in unit.parameters()):
            found[-1] += names
        elif names:
            found.append(names)
    placed = {name for layer in found for name in layer}
    alone = [name for name, _ in module.named_parameters() if name not in placed]
    return [alone + found[0], *found[1:]] if found else [alone]


def blocks(module: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """The outermost lists of blocks of a network: their parent, their name in it, and they themselves."""
    for name, child in module.named_children():
        if is_list_of_blocks(child):
            yield module, name, child
        else:
            yield from blocks(child)


def is_list_of_blocks(module: nn.Module) -> bool:
    """Whether a module is a plain list (or says that it is one by `is_list`), of parts that have parts themselves."""
    plain = _kind(module) in LISTS or getattr(module, "is_list", False)
    return plain and any(list(child.children()) for child in module.children())


def _units(prefix: str, module: nn.Module, total: int) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        path = f"{prefix}{name}."
        if list(child.children()) and (is_list_of_blocks(child) or _size(child) > MOST * total):
            yield from _units(path, child, total)
        else:
            yield path, child


def _kind(module: nn.Module) -> type:
    """The class of a module, also where FSDP has put a class of its own in front of it."""
    kind = type(module)
    return kind.__bases__[-1] if kind.__name__ == f"FSDP{kind.__bases__[-1].__name__}" else kind


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
