"""The fitted calibrators: temperature, temperatures of conditionals per level or sibling group, vector scaling."""

from typing import Any

import numpy as np
import numpy.typing as npt

from hjc.arrays import Float64, FloatArray
from hjc.calibration.base import Calibrator
from hjc.calibration.conditionals import log_softmax, segment_logsumexp, sum_paths, tempered_conditionals
from hjc.metrics.level_proba import as_leaf_log_proba
from hjc.taxonomy.tree import Taxonomy


def _positive(name: str, values: npt.ArrayLike, shape: tuple[int, ...]) -> Float64:
    array = np.array(values, dtype=np.float64)
    if array.shape != shape or not (np.isfinite(array) & (array > 0)).all():
        raise ValueError(f"{name}: got {array.tolist()!r:.80}, expected positive numbers of shape {shape}")
    array.flags.writeable = False
    return array


class Temperature(Calibrator):
    """One temperature for the leaf distribution: P'(leaf) proportional to P(leaf)^(1/T).

    Guo et al. (2017), On Calibration of Modern Neural Networks, section 4.2; on normalised log-probabilities the
    same as on logits, because the softmax takes no notice of a constant. T > 1 makes the classifier less sure.
    """

    kind = "temperature"

    def __init__(self, taxonomy: Taxonomy, temperature: float) -> None:
        super().__init__(taxonomy)
        self.temperature = float(_positive("temperature", temperature, ()))

    def transform(self, log_proba: FloatArray) -> FloatArray:
        x = as_leaf_log_proba(self.taxonomy, log_proba)
        return log_softmax(x / x.dtype.type(self.temperature))

    def parameters(self) -> dict[str, Any]:
        return {"temperature": self.temperature}


class ConditionalTemperature(Calibrator):
    """A temperature for each sibling group's conditionals P(node | parent), chained back to leaf probabilities.

    P'(node | parent) is proportional to P(node | parent)^(1/T_group) among siblings. The result is a product of
    normalised conditionals, hence a distribution over leaves and coherent at every level. With equal temperatures
    within a level it is level temperature scaling (kind of fit ``level_temperature``).

    Args:
        temperature: (D,) one per level, or (G,) one per sibling group (:attr:`Taxonomy.group`).
    """

    kind = "conditional_temperature"

    def __init__(self, taxonomy: Taxonomy, temperature: npt.ArrayLike, *, per: str = "level") -> None:
        super().__init__(taxonomy)
        if per not in ("level", "group"):
            raise ValueError(f"per: got {per!r}, allowed are 'level' and 'group'")
        self.per = per
        groups = len(taxonomy.group_slice)
        self.temperature = _positive("temperature", temperature, (taxonomy.depth if per == "level" else groups,))
        self.group_level = taxonomy.level[taxonomy.group_slice[:, 0]]
        self.group_temperature = self.temperature[self.group_level - 1] if per == "level" else self.temperature

    def transform(self, log_proba: FloatArray) -> FloatArray:
        x = as_leaf_log_proba(self.taxonomy, log_proba)
        conditional = tempered_conditionals(self.taxonomy, x, 1 / self.group_temperature)
        return sum_paths(conditional, self.taxonomy).astype(x.dtype, copy=False)

    def parameters(self) -> dict[str, Any]:
        return {"per": self.per, "temperature": self.temperature.tolist()}


class VectorScaling(Calibrator):
    """A slope and a bias for each code of one level; conditionals below the level stay as they are.

    log P'(code) = slope_code * log P(code) + bias_code - normalisation at the level (Guo et al. 2017, section 4.2,
    with slopes positive and both shrunk towards a common slope and no bias when fitted). Leaves under a code keep
    their shares of it, so the result is coherent.
    """

    kind = "vector"

    def __init__(self, taxonomy: Taxonomy, level: int, slope: npt.ArrayLike, bias: npt.ArrayLike) -> None:
        super().__init__(taxonomy)
        self.level = taxonomy.check_level(level)
        k = len(taxonomy.level_nodes(level))
        self.slope = _positive("slope", slope, (k,))
        self.bias = np.array(bias, dtype=np.float64)
        if self.bias.shape != (k,) or not np.isfinite(self.bias).all():
            raise ValueError(f"bias: got shape {self.bias.shape}, expected ({k},) finite numbers")
        self.bias.flags.writeable = False
        nodes = taxonomy.level_nodes(self.level)
        self._starts = taxonomy.leaf_slice[nodes, 0]
        self._widths = np.diff(np.r_[self._starts, taxonomy.num_leaves])

    def transform(self, log_proba: FloatArray) -> FloatArray:
        x = as_leaf_log_proba(self.taxonomy, log_proba)
        old = segment_logsumexp(x, self._starts)
        new = log_softmax(old * self.slope + self.bias)
        alive = np.isfinite(old)
        move = np.where(alive, new - np.where(alive, old, 0.0), 0.0)
        return (x + np.repeat(move, self._widths, axis=1)).astype(x.dtype, copy=False)

    def parameters(self) -> dict[str, Any]:
        return {"level": self.level, "slope": self.slope.tolist(), "bias": self.bias.tolist()}
