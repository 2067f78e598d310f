"""Devices and the precision of predictions. The trainer has its own words for both (Lightning's)."""

from contextlib import AbstractContextManager

import torch

from hjc.nn.fitting import computes_in_bfloat16


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


def in_bfloat16(precision: str) -> bool:
    """Whether ``32``, ``bf16`` or ``auto`` means bfloat16 on this machine."""
    return precision == "bf16" or (precision == "auto" and computes_in_bfloat16())


def autocast(device: torch.device, bfloat16: bool) -> AbstractContextManager[None]:
    """Matrix products in bfloat16, or everything as it is."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16)
