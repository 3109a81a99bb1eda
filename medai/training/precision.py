"""The number format that the hardware computes natively."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from medai.core.error import MedaiError

DTYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def check_accelerator(accelerator: str) -> None:
    """Refuse a GPU that is not there, before anything else is done.

    Raises:
        MedaiError: ``cuda`` is asked for and torch sees none.
    """
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise MedaiError("training.accelerator=cuda, but torch sees no GPU here; set training.accelerator=auto, or install torch with CUDA")


def choose_precision(precision: str, accelerator: str) -> str:
    """Resolve ``auto``: bf16 on CUDA from compute capability 8.0 on, else 32 bit.

    A processor without bf16 instructions emulates them; autocast was measured 16 times slower there.
    """
    if precision != "auto":
        return precision
    on_cuda = accelerator == "cuda" or (accelerator == "auto" and torch.cuda.is_available())
    return "bf16-mixed" if on_cuda and torch.cuda.get_device_capability() >= (8, 0) else "32-true"


class Precision:
    """Forward passes in a narrower format, and the scaling of the loss that 16 bits need (Micikevicius et al. 2018).

    Args:
        name: ``32-true``, ``bf16-mixed`` or ``16-mixed``.
        device: What is computed on.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self.dtype, self.device = DTYPES.get(name), device
        self.scaler = torch.amp.GradScaler(device.type) if self.dtype is torch.float16 else None

    def autocast(self) -> AbstractContextManager[Any]:
        """Around the forward pass."""
        return nullcontext() if self.dtype is None else torch.autocast(self.device.type, self.dtype)
