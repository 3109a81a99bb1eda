"""The number format that the hardware computes natively."""

import torch

from medai.core.error import MedaiError


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
