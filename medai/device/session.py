"""An ONNX Runtime session: quiet, without telemetry, on the processor unless another provider is named."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medai.core.error import MedaiError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

CPU = ("CPUExecutionProvider",)
ERRORS_ONLY = 3
NEWER = re.compile("opset|IR version|not a registered|not implemented|NOT_IMPLEMENTED", re.IGNORECASE)
INNER = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : |/\S+\.(?:cc|h):\d+ \S.*?\) (?=[A-Z])")  # where in its own code the runtime failed


def open_session(model: bytes, name: str, providers: Sequence[str] = CPU, threads: int | None = None) -> "InferenceSession":
    """Open a session.

    Args:
        model: Bytes of an .onnx file.
        name: How the model is called in errors.
        providers: ONNX Runtime's execution providers, the preferred first.
        threads: Threads of one operator; None leaves it to ONNX Runtime (all cores).

    Raises:
        MedaiError: an unknown provider, or a model that this runtime cannot load.
    """
    import onnxruntime

    available = onnxruntime.get_available_providers()
    for provider in providers:
        if provider not in available:
            raise MedaiError(f"execution provider {provider!r} is not in this onnxruntime; available: {', '.join(available)}")
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    if threads is not None:
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    try:
        return onnxruntime.InferenceSession(model, options, providers=list(providers))
    except Exception as error:  # onnxruntime raises its own types, which differ between releases
        reason = one_line(error)
        advice = "; a newer onnxruntime may load it" if NEWER.search(reason) else ""
        raise MedaiError(f"{name} cannot be loaded by onnxruntime {onnxruntime.__version__}: {reason}{advice}") from None


def run_session(session: "InferenceSession", name: str, outputs: Sequence[str], pixels: Any) -> list[Any]:
    """Run a session on one batch.

    Raises:
        MedaiError: the runtime failed, e.g. out of memory.
    """
    try:
        return list(session.run(list(outputs), {"pixels": pixels}))
    except Exception as error:  # as above
        raise MedaiError(f"{name} failed on pixels of shape {tuple(pixels.shape)}: {one_line(error)}") from None


def one_line(error: BaseException) -> str:
    """The text of an error in one line of bearable length."""
    return INNER.sub("", " ".join(str(error).split()))[:300]
