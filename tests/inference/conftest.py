"""Small ONNX files whose outputs can be computed by hand: the mean of every channel, times weights."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from medai.cohort.cohort import Cohort
from medai.ingest.ingest import ingest
from medai.source.npz import NpzSource

WriteModel = Callable[..., Path]
WriteContract = Callable[..., Path]

TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8, "int64": TensorProto.INT64}


@pytest.fixture
def write_model(tmp_path: Path) -> WriteModel:
    """An ONNX file of (N, C, H, W) or another layout: the means of its channels (N, C) by `weights` (C, W), then `activation`."""

    def write(
        weights: Any = ((1.0,),), *, shape: tuple[Any, ...] = ("N", 1, 8, 8), layout: str = "NCHW", dtype: str = "float32",
        activation: str | None = None, name: str = "vendor.onnx", extra_output: bool = False, second_input: bool = False,
        external: bool = False,
    ) -> Path:  # fmt: skip
        matrix = np.asarray(weights, np.float32)
        axes = [place for place, axis in enumerate(layout) if axis in "HW"]
        nodes = [
            helper.make_node("Cast", ["image"], ["values"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["values"], ["mean"], axes=axes, keepdims=0),
            helper.make_node("Constant", [], ["rows"], value=numpy_helper.from_array(np.array([-1, len(matrix)], np.int64))),
            helper.make_node("Reshape", ["mean", "rows"], ["features"]),
            helper.make_node("MatMul", ["features", "weights"], ["scores"]),
        ]
        last = "scores"
        if activation:
            attributes = {"axis": 1} if "oft" in activation else {}
            nodes.append(helper.make_node(activation, ["scores"], ["activated"], **attributes))
            last = "activated"
        nodes.append(helper.make_node("Identity", [last], ["prob"]))
        outputs = [helper.make_tensor_value_info("prob", TensorProto.FLOAT, ["N", matrix.shape[1]])]
        if extra_output:
            outputs.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", matrix.shape[0]]))
        inputs = [helper.make_tensor_value_info("image", TYPES[dtype], list(shape))]
        if second_input:
            inputs.append(helper.make_tensor_value_info("age", TensorProto.FLOAT, ["N", 1]))
        initializers = [numpy_helper.from_array(matrix, "weights")]
        graph = helper.make_graph(nodes, "vendor", inputs, outputs, initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        path = tmp_path / name
        if external:
            onnx.save_model(model, str(path), save_as_external_data=True, location=f"{name}.data", size_threshold=0)
        else:
            onnx.save_model(model, str(path))
        return path

    return write


def contract_of(**changes: Any) -> dict[str, Any]:
    """A right contract of the model above; `input`, `intensity` and `output` are merged, all else replaced, None removes."""
    node: dict[str, Any] = {
        "name": "ChestNet 2.1",
        "input": {
            "name": "image",
            "layout": "NCHW",
            "channels": 1,
            "size": [8, 8],
            "intensity": {"method": "window", "lower": 0, "upper": 255},
        },
        "output": {"name": "prob", "activation": "none"},
        "labels": [{"name": "sick", "kind": "binary", "classes": ["no", "yes"]}],
        "thresholds": {"sick": 0.4},
        "threshold_origin": "the vendor's manual, 2024, section 4",
    }
    changes = dict(changes)
    intensity = changes.pop("intensity", {})
    for key, value in changes.items():
        node[key] = (
            node[key] | value if isinstance(value, Mapping) and isinstance(node.get(key), Mapping) and key != "thresholds" else value
        )
    node["input"] = node["input"] | {"intensity": node["input"]["intensity"] | intensity} if intensity else node["input"]
    return _without_none(node)


def _without_none(value: Any) -> Any:
    return {key: _without_none(part) for key, part in value.items() if part is not None} if isinstance(value, Mapping) else value


@pytest.fixture
def write_contract(tmp_path: Path) -> WriteContract:
    def write(name: str = "vendor.yaml", **changes: Any) -> Path:
        path = tmp_path / name
        path.write_text(yaml.safe_dump(contract_of(**changes), sort_keys=False), encoding="utf-8")
        return path

    return write


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    """29 grey images of 12 x 10 pixels; the sick ones are brighter."""
    random = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 6), ("val", 5), ("test", 18)):
        labels = np.arange(count, dtype=np.uint8)[:, None] % 2
        images = random.integers(0, 160, (count, 12, 10)) + 90 * labels[:, :, None]
        arrays |= {f"{split}_images": images.astype(np.uint8), f"{split}_labels": labels}
    np.savez(tmp_path / "set.npz", **arrays)
    target = {"name": "sick", "kind": "binary", "classes": ["no", "yes"]}
    return ingest(NpzSource("set", str(tmp_path / "set.npz"), [target], public=True), tmp_path / "cohorts", workers=0)
