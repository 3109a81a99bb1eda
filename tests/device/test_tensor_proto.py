"""medai.device.tensor_proto"""

import contextlib

import ml_dtypes
import numpy as np
import onnx
import pytest

from medai.core.error import MedaiError
from medai.device.tensor_proto import DTYPES, read_tensor, write_tensor

ALL_DTYPES = [np.dtype(code).newbyteorder("=") for code in DTYPES.values()]


def _example(dtype: np.dtype) -> np.ndarray:
    values = np.array([[0, 1, 2], [3, 100, 127]]).astype(dtype)
    return values if dtype.kind in "bu" else -values


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
def test_it_reads_what_onnx_writes_raw(dtype: np.dtype) -> None:
    array = _example(dtype)
    tensor = read_tensor(onnx.numpy_helper.from_array(array, "pixels").SerializeToString())
    assert tensor.name == "pixels"
    assert tensor.array.dtype == dtype
    np.testing.assert_array_equal(tensor.array, array)


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
def test_it_reads_what_onnx_writes_in_typed_fields(dtype: np.dtype) -> None:
    array = _example(dtype)
    proto = onnx.helper.make_tensor("x", onnx.helper.np_dtype_to_tensor_dtype(dtype), array.shape, array.flatten().tolist())
    assert not proto.HasField("raw_data")
    found = read_tensor(proto.SerializeToString()).array
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, onnx.numpy_helper.to_array(proto))


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
def test_onnx_reads_what_it_writes(dtype: np.dtype) -> None:
    array = _example(dtype)
    proto = onnx.TensorProto.FromString(write_tensor("x", array))
    assert proto.name == "x"
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(proto), array)


@pytest.mark.parametrize(
    "array", [np.array(3.5, np.float32), np.zeros((0, 4), np.float32), np.array([2**62, -(2**62)])], ids=["scalar", "empty", "large"]
)
def test_scalars_empty_arrays_and_large_integers_survive(array: np.ndarray) -> None:
    found = read_tensor(write_tensor("x", array)).array
    assert found.shape == array.shape
    np.testing.assert_array_equal(found, array)


def test_every_truncation_is_refused_in_one_line() -> None:
    data = write_tensor("pixels", np.arange(6, dtype=np.float32).reshape(1, 6))
    for end in range(len(data)):
        with pytest.raises(MedaiError) as caught:
            read_tensor(data[:end])
        assert "\n" not in str(caught.value)


def test_random_bytes_never_end_in_another_error() -> None:
    generator = np.random.default_rng(0)
    for length in range(200):
        with contextlib.suppress(MedaiError):
            read_tensor(generator.bytes(length))


def test_a_type_without_a_numpy_equal_is_named() -> None:
    proto = onnx.numpy_helper.from_array(np.zeros(2, ml_dtypes.bfloat16), "x")
    with pytest.raises(MedaiError, match="'x' has ONNX data type 16; supported: 1, 2"):
        read_tensor(proto.SerializeToString())


def test_values_in_another_file_are_refused() -> None:
    proto = onnx.TensorProto(name="x", data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
    with pytest.raises(MedaiError, match="'x' keeps its values in another file"):
        read_tensor(proto.SerializeToString())


def test_a_shape_that_does_not_fit_is_refused() -> None:
    proto = onnx.numpy_helper.from_array(np.zeros(6, np.float32), "x")
    proto.dims[0] = 7
    with pytest.raises(MedaiError, match=r"shape \(7,\) does not fit 6 values"):
        read_tensor(proto.SerializeToString())
