"""What a calibrator is, how it is stored, and the two that need no fitting."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from hjc.arrays import FloatArray
from hjc.taxonomy.tree import Taxonomy

FORMAT_VERSION = 1
FILE_NAME = "calibration.json"


class Calibrator(ABC):
    """A map of leaf log-probabilities to better calibrated ones, coherent up the tree like what came in.

    Subclasses set ``kind`` (the key in calibration.json) and implement ``transform`` and ``parameters``. Instances are
    immutable: what was validated is what is stored.
    """

    kind: ClassVar[str] = ""
    #: key in calibration.json -> class
    kinds: ClassVar[dict[str, type["Calibrator"]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.kind:
            Calibrator.kinds[cls.kind] = cls

    def __init__(self, taxonomy: Taxonomy) -> None:
        self.taxonomy = taxonomy

    @abstractmethod
    def transform(self, log_proba: FloatArray) -> FloatArray:
        """(B, L) natural-log leaf probabilities -> the same, calibrated, rows summing to 1 after exp; dtype kept."""

    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """Plain JSON values: the arguments beside the taxonomy from which the class makes the same calibrator."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: format_version, kind, taxonomy_hash, parameters."""
        return {
            "format_version": FORMAT_VERSION,
            "kind": self.kind,
            "taxonomy_hash": self.taxonomy.hash,
            "parameters": self.parameters(),
        }

    @staticmethod
    def from_dict(taxonomy: Taxonomy, state: Mapping[str, Any]) -> "Calibrator":
        """The calibrator of any kind that ``to_dict`` described.

        Raises:
            ValueError: unknown format or kind, or it was fitted on another tree.
        """
        if state.get("format_version") != FORMAT_VERSION:
            raise ValueError(
                f"calibration: got format_version {state.get('format_version')!r}, this hjc reads {FORMAT_VERSION}; "
                "calibrate again or install the matching hjc"
            )
        if state.get("kind") not in Calibrator.kinds:
            raise ValueError(f"calibration: got kind {state.get('kind')!r}, allowed are {sorted(Calibrator.kinds)}")
        if state.get("taxonomy_hash") != taxonomy.hash:
            raise ValueError(f"calibration was fitted on another tree than {taxonomy!r}; calibrate again on this one")
        make: Callable[..., Calibrator] = Calibrator.kinds[state["kind"]]
        return make(taxonomy, **state["parameters"])

    def __repr__(self) -> str:
        plain = (f"{k}={v}" for k, v in self.parameters().items() if isinstance(v, int | float | str))
        return f"{type(self).__name__}({', '.join(plain)})"


class Identity(Calibrator):
    """Leaves everything as it is."""

    kind = "identity"

    def transform(self, log_proba: FloatArray) -> FloatArray:
        return log_proba

    def parameters(self) -> dict[str, Any]:
        return {}


class Chain(Calibrator):
    """Several calibrators, or what their ``to_dict`` gave, one after the other."""

    kind = "chain"

    def __init__(self, taxonomy: Taxonomy, steps: Sequence[Calibrator | Mapping[str, Any]]) -> None:
        super().__init__(taxonomy)
        self.steps = tuple(s if isinstance(s, Calibrator) else Calibrator.from_dict(taxonomy, s) for s in steps)

    def transform(self, log_proba: FloatArray) -> FloatArray:
        for step in self.steps:
            log_proba = step.transform(log_proba)
        return log_proba

    def parameters(self) -> dict[str, Any]:
        return {"steps": [step.to_dict() for step in self.steps]}
