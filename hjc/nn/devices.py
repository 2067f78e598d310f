"""Devices and the precision of predictions. The trainer has its own words for both (Lightning's)."""

from contextlib import AbstractContextManager
from typing import Any

import torch


def device_of(name: str) -> torch.device:
    """The device of that name; ``auto`` is the first GPU where there is one, else the CPU.

    Raises:
        ValueError: torch knows no such device, or this machine has none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device: got {name!r}, which cannot be used here ({reason}); use auto or cpu") from None
    return device


def accelerator_of(name: str, devices: int) -> str:
    """Lightning's word for what trains: ``auto`` is a CUDA GPU where there is one, else the CPU (never a Mac's GPU).

    Raises:
        ValueError: a GPU is asked for, and this machine has none or fewer.
    """
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and not found):
        if devices < 1:
            raise ValueError("trainer.devices: -1 is all GPUs, and none trains here; give the number of processes")
        return "cpu"
    if devices > found or not found:
        raise ValueError(
            f"trainer.accelerator={name} trainer.devices={devices}: torch finds {found} CUDA GPUs here; "
            "use trainer.accelerator=cpu, or fewer devices"
        )
    return "cuda"


def computes_in_bfloat16() -> bool:
    """Whether this machine multiplies bfloat16 matrices in hardware (an emulation would be slower than float32)."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # older versions of torch say nothing in public: float32 is right everywhere
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_tile"))


def in_bfloat16(precision: str) -> bool:
    """Whether ``32``, ``bf16`` or ``auto`` means bfloat16 on this machine."""
    return precision == "bf16" or (precision == "auto" and computes_in_bfloat16())


def autocast(device: torch.device, bfloat16: bool) -> AbstractContextManager[None]:
    """Matrix products in bfloat16, or everything as it is."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16)
