"""Read a contract from its YAML file: every key checked, unknown ones refused, so that no misspelt line is passed over."""

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import yaml

from medai.core.error import MedaiError
from medai.core.file import hash_text
from medai.core.label import Label
from medai.inference.contract import BOUNDED, METHODS, InputSpec, Intensity, LabelSpec, Resize, VendorContract

LARGEST_FILE = 1_000_000  # bytes
TOP = ("name", "intended_use", "input", "output", "labels", "thresholds", "threshold_origin", "network")
INPUT = (
    "name", "layout", "channels", "dtype", "size", "fit", "interpolation", "antialias", "short_side", "pad", "first", "intensity",
    "colour_order", "colour_to_grey", "accepts",
)  # fmt: skip
RESIZE = ("fit", "interpolation", "antialias", "short_side", "pad")
INTENSITY = ("method", "lower", "upper", "center", "width", "to", "mean", "std", "polarity", "levels")
ACCEPTS = ("low", "high", "min_contrast")
OUTPUT = ("name", "activation")
LABEL = ("name", "kind", "classes", "meaning", "order", "activation", "output", "column")
WORDS = {"true": True, "false": False}


def read_contract(path: Path) -> VendorContract:
    """Read and check a contract.

    Raises:
        MedaiError: it is no YAML, or a key is missing, unknown or wrong; one line that names the file and the key.

    Example:
        >>> read_contract(Path("vendor.yaml")).input.layout
        'NCHW'
    """
    path = Path(path)
    text = _read(path)
    try:
        return _contract(path, text)
    except MedaiError as error:
        raise MedaiError(f"{path}: {error}") from None


def _read(path: Path) -> str:
    if not path.is_file():
        raise MedaiError(f"contract {path} does not exist; docs/bring-any-model.md shows one to start from")
    if path.stat().st_size > LARGEST_FILE:
        raise MedaiError(f"{path} is larger than a contract can be; contract= names the YAML file and candidate= the model")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise MedaiError(f"{path} is not text in UTF-8; contract= names the YAML file and candidate= the model") from None


class _Loader(yaml.SafeLoader):
    """YAML 1.2's plain words: ``no`` and ``yes`` are names of classes, ``1e-3`` is a number, and no key comes twice."""

    yaml_implicit_resolvers: ClassVar[dict[Any, Any]] = {
        first: [(tag, expression) for tag, expression in found if tag.rpartition(":")[2] in ("null", "merge")]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1:
                raise MedaiError(f"the key {key!r} stands twice in one place; keep one")
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$"),
    list("-+0123456789."),
)


def _contract(path: Path, text: str) -> VendorContract:
    try:
        data = yaml.load(text, Loader=_Loader)  # a SafeLoader: it makes plain values only
    except yaml.YAMLError as error:
        raise MedaiError(f"this is not YAML: {' '.join(str(error).split())[:200]}") from None
    except RecursionError:
        raise MedaiError("this is nested too deeply for a contract") from None
    top = _mapping(data, "the contract", TOP)
    default = _mapping(top.get("output") or {}, "output", OUTPUT, "output.")
    return VendorContract(
        path=path,
        input=_input(_required(top, "input", "")),
        labels=_labels(_required(top, "labels", ""), default),
        thresholds=_thresholds(top.get("thresholds")),
        threshold_origin=_text(top, "threshold_origin", ""),
        hash=hash_text(text),
        name=_text(top, "name", ""),
        intended_use=_text(top, "intended_use", ""),
        network=_network(top.get("network")),
    )


def _input(value: Any) -> InputSpec:
    if isinstance(value, Sequence) and not isinstance(value, str):
        raise MedaiError(f"input lists {len(value)} inputs; medai gives a model one image and nothing else")
    node = _mapping(value, "input", INPUT, "input.")
    where = "input."
    accepts = _mapping(node.get("accepts") or {}, "input.accepts", ACCEPTS, "input.accepts.")
    optional: dict[str, Any] = {key: _number(accepts, key, "input.accepts.") for key in accepts}
    optional |= {key: _text(node, key, where) for key in ("layout", "first", "colour_order") if key in node}
    return InputSpec(
        _intensity(_required(node, "intensity", where)),
        channels=_whole(node, "channels", where),
        resize=_resize(node),
        name=_text(node, "name", where) or None,
        dtype=_text(node, "dtype", where) or None,
        pad=_number(node, "pad", where) if node.get("pad") is not None else None,
        colour_to_grey=_flag(node, "colour_to_grey", False),
        **optional,
    )


def _resize(node: Mapping[str, Any]) -> Resize | None:
    size = _required(node, "size", "input.")
    if size == "native":
        for key in RESIZE:
            if key in node:
                raise MedaiError(f"input.size is native, so input.{key} has no meaning; leave one of the two out")
        return None
    if not (isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) and not isinstance(side, bool) for side in size)):
        raise MedaiError(f"input.size is {size!r}; expected [height, width] in pixels, or native")
    words: dict[str, Any] = {key: _text(node, key, "input.") for key in ("fit", "interpolation") if key in node}
    return Resize(size[0], size[1], antialias=_flag(node, "antialias", True), short_side=_whole(node, "short_side", "input."), **words)


def _intensity(value: Any) -> Intensity:
    where = "input.intensity."
    node = _mapping(value, "input.intensity", INTENSITY, where)
    method = str(_required(node, "method", where))
    given: dict[str, Any] = {"method": method}
    bounds = [key for key in ("lower", "upper", "center", "width") if key in node]
    if method in BOUNDED:
        given |= _bounds(node, method)
    elif bounds and method in METHODS:
        raise MedaiError(f"input.intensity.{bounds[0]} has no meaning with method {method}; leave it out")
    if "to" in node:
        given["to"] = _numbers(node, "to", where)
        if len(given["to"]) != 2:
            raise MedaiError(f"input.intensity.to is {node['to']!r}; expected two numbers, e.g. [0, 1]")
    given |= {key: _numbers(node, key, where) for key in ("mean", "std") if key in node}
    if "polarity" in node:
        given["polarity"] = _text(node, "polarity", where).upper()
    return Intensity(**given, levels=_whole(node, "levels", where))


def _bounds(node: Mapping[str, Any], method: str) -> dict[str, float]:
    """Lower and upper, or the centre and width of a window: PS3.3 C.11.2.1.3.2, LINEAR_EXACT."""
    where = "input.intensity."
    if "center" in node or "width" in node:
        if method != "window" or "lower" in node or "upper" in node:
            raise MedaiError("input.intensity takes center and width of a window, or else lower and upper; not both")
        center, width = (_number(node, key, where) for key in ("center", "width"))
        if width <= 0:
            raise MedaiError(f"input.intensity.width is {width:g}; it must be above 0")
        return {"lower": center - width / 2, "upper": center + width / 2}
    return {key: _number(node, key, where) for key in ("lower", "upper")}


def _labels(value: Any, default: Mapping[str, Any]) -> tuple[LabelSpec, ...]:
    if not isinstance(value, list):
        raise MedaiError(f"labels is {value!r}; expected a list, e.g. - {{name: pneumonia, kind: binary, classes: [no, yes]}}")
    return tuple(_label(entry, place, default) for place, entry in enumerate(value))


def _label(value: Any, place: int, default: Mapping[str, Any]) -> LabelSpec:
    where = f"labels[{place}]."
    node = _mapping(value, f"labels[{place}]", LABEL, where)
    name, kind = (str(_required(node, key, where)) for key in ("name", "kind"))
    classes = _names(_required(node, "classes", where), f"{where}classes")
    label = Label(name, kind, classes, _text(node, "meaning", where))
    activation = node.get("activation", default.get("activation"))
    if activation is None:
        what = "none (the outputs are probabilities already), sigmoid or softmax"
        raise MedaiError(f"output.activation is missing; say what is still to be applied: {what}")
    order = _names(node["order"], f"{where}order") if "order" in node else None
    if order is None:
        order = classes if kind != "binary" or activation == "softmax" else classes[1:]
    output = _text(node, "output", where) or _text(default, "name", "output.") or None
    return LabelSpec(label, order, str(activation), output, _whole(node, "column", where))


def _thresholds(value: Any) -> dict[str, float]:
    if value is not None and not isinstance(value, Mapping):
        raise MedaiError(f"thresholds is {value!r}; expected one a label, e.g. {{pneumonia: 0.37}}")
    given: Mapping[str, Any] = value or {}
    return {str(name): _number(given, name, "thresholds.") for name in given}


def _network(value: Any) -> Mapping[str, Any] | None:
    if value is not None and not (isinstance(value, Mapping) and isinstance(value.get("_target_"), str)):
        raise MedaiError("network must name a class, e.g. {_target_: my_package.MyNetwork, outputs: 1}")
    return value


def _mapping(value: Any, name: str, allowed: Sequence[str], where: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise MedaiError(f"{name} is {'empty' if value is None else repr(value)[:80]}; expected keys: {', '.join(allowed)}")
    for key in value:
        if key not in allowed:
            close = difflib.get_close_matches(str(key), allowed, n=1)
            hint = f"; did you mean {close[0]}?" if close else f"; allowed: {', '.join(allowed)}"
            raise MedaiError(f"{where}{key} is unknown{hint}")
    return dict(value)


def _required(node: Mapping[str, Any], key: str, where: str) -> Any:
    if node.get(key) is None:
        raise MedaiError(f"{where}{key} is missing; docs/bring-any-model.md says what it means")
    return node[key]


def _text(node: Mapping[str, Any], key: str, where: str) -> str:
    value = node.get(key, "")
    if value is None or isinstance(value, Mapping | list):
        raise MedaiError(f"{where}{key} is {value!r}; expected a text")
    return str(value)


def _flag(node: Mapping[str, Any], key: str, default: bool) -> bool:
    value = node.get(key, default)
    if not isinstance(value, bool):
        raise MedaiError(f"input.{key} is {value!r}; it must be true or false")
    return value


def _whole(node: Mapping[str, Any], key: str, where: str) -> int | None:
    value = node.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise MedaiError(f"{where}{key} is {value!r}; it must be a whole number")
    return value


def _number(node: Mapping[str, Any], key: str, where: str) -> float:
    value = _required(node, key, where)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise MedaiError(f"{where}{key} is {value!r}; it must be a number")
    return float(value)


def _numbers(node: Mapping[str, Any], key: str, where: str) -> tuple[float, ...]:
    value = node[key]
    values = value if isinstance(value, list) else [value]
    if not values:
        raise MedaiError(f"{where}{key} is empty; it must be a number, or a list of them")
    return tuple(_number({key: each}, key, where) for each in values)


def _names(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or any(isinstance(name, Mapping | list) or name is None for name in value):
        raise MedaiError(f"{where} is {value!r}; expected a list of names, e.g. [no, yes]")
    for name in value:
        if isinstance(name, bool):
            raise MedaiError(f'{where} holds {str(name).lower()} without quotes; write it as "{str(name).lower()}"')
    return tuple(str(name) for name in value)
