"""Where and in which numbers a loaded classifier computes: part of the contract of classifiers."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from hjc.arrays import FloatArray
from hjc.errors import check_choice

#: of the matrix products of a prediction; auto: bf16 where the hardware multiplies it
PRECISIONS = ("auto", "32", "bf16")


class Computing:
    """What :class:`hjc.classifiers.base.Classifier` says about devices and precision."""

    @property
    def named_parts(self) -> Mapping[str, Any]:
        """The classifiers that this one is made of, by name."""
        return {}

    def of_parts(self, parts: Sequence[FloatArray]) -> FloatArray | None:
        """What this one answers where its parts answer these (n, L) log-probabilities, over the leaves of its own tree:
        nothing is computed twice. None where only the texts tell."""
        return None

    @property
    def uncalibrated(self) -> Any:
        """The classifier without the calibration that ``calibrated`` has put around it."""
        return self

    @property
    def has_network(self) -> bool:
        """It, or a part of it, may run on a GPU and in bfloat16."""
        return any(part.has_network for part in self.models_inside())

    def models_inside(self) -> list[Any]:
        """The models that compute where this one is asked to."""
        return list(self.named_parts.values()) or [base for base in (self.uncalibrated,) if base is not self]

    def compute_on(self, device: str = "auto", precision: str | None = None) -> Self:
        """Compute what follows on a device and in a precision. Parts without a network stay on the CPU.

        Args:
            device: ``cpu``, ``cuda``, ``cuda:1`` ...; ``auto``: the first GPU where there is one.
            precision: ``32``; ``bf16``: matrix products in bfloat16; ``auto``: that where the hardware multiplies it;
                None: as it is (32, unless the settings of an embedding model say otherwise).

        Raises:
            ValueError: there is no such device here, or nothing in this classifier could run on it.
        """
        check_choice("precision", precision or "auto", PRECISIONS)
        if device not in ("auto", "cpu") and not self.has_network:
            raise ValueError(f"device: got {device!r}, but a {type(self).__name__} computes on the CPU: auto or cpu")
        for part in self.models_inside():
            if part.has_network:
                part.compute_on(device, precision)
        return self
