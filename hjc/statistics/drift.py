"""Has the stream of texts drifted from what the classifier was made on? A table of checks and a plain verdict.

A :class:`Profile` is gathered once from training or validation rows, stored as JSON beside the model, and compared with
the profile of each new batch. It holds histograms, no texts.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hjc.arrays import Float64, FloatArray, IntArray
from hjc.errors import name_some
from hjc.metrics.level_proba import LevelProba
from hjc.statistics.two_sample import classifier_test, jensen_shannon, mmd_test, null_counts, psi, quantile
from hjc.taxonomy.tree import Taxonomy

FORMAT_VERSION = 1
#: the usual reading of the population stability index: below 0.1 stable, from 0.25 a large shift (Siddiqi 2006)
MODERATE, LARGE = 0.1, 0.25
#: where nothing changed, at most this share of batches gets another verdict than "proceed"; all checks together
LEVEL = 0.05
#: AUC of the classifier two-sample test from which a difference is moderate, large (where it is beyond chance)
AUC_MODERATE, AUC_LARGE = 0.6, 0.75
#: share of rows in languages the reference did not have, from which a difference is moderate, large
NEW_LANGUAGE_MODERATE, NEW_LANGUAGE_LARGE = 0.01, 0.05
MIN_ROWS = 100
#: principal directions of the features that a stored profile keeps
COLUMNS = 32
VERDICTS = ("proceed", "recalibrate", "re-audit")

_LENGTH_EDGES = np.r_[0, 2.0 ** np.arange(0, 14)]  # characters: empty, 1, 2-3, 4-7, ..., 8192 and more
_CONFIDENCE_EDGES = np.linspace(0, 1, 21)
_OOV_EDGES = np.r_[0, 1e-9, np.linspace(0.1, 1, 10)]  # none at all, then tenths


def _histogram(values: Any, edges: Float64) -> Float64:
    v = np.clip(np.asarray(values, dtype=np.float64), edges[0], np.nextafter(edges[-1], edges[0]))
    return np.bincount(np.searchsorted(edges, v, side="right") - 1, minlength=len(edges) - 1).astype(np.float64)


def _short(values: Float64) -> Any:
    """Nested lists of five significant digits."""
    return (
        np.vectorize(lambda v: float(f"{v:.5g}"), otypes=[float])(values).tolist() if values.size else values.tolist()
    )


class Profile:
    """Streaming summary of a batch; ``update`` as often as needed.

    Args:
        oov: share of a text's words (or tokens) outside the vocabulary, from 0 to 1; the same for both profiles.
        sample: how many feature rows to keep (an even random sample of all that passed).
    """

    def __init__(
        self, taxonomy: Taxonomy, *, oov: Callable[[str], float] | None = None, sample: int = 1000, seed: int = 0
    ) -> None:
        self.taxonomy, self._oov = taxonomy, oov
        self.rows = 0
        self.languages: Counter[str] = Counter()
        #: number of words -> rows (empty in profiles of an older hjc)
        self.sizes: Counter[int] = Counter()
        #: rows whose texts have no letter (0 in profiles of an older hjc)
        self.letterless = 0
        self.length: Float64 = np.zeros(len(_LENGTH_EDGES) - 1)
        self.oov: Float64 = np.zeros(len(_OOV_EDGES) - 1)
        self.confidence: Float64 = np.zeros((taxonomy.depth, len(_CONFIDENCE_EDGES) - 1))
        self.confidence_sum: Float64 = np.zeros(taxonomy.depth)
        self.prior: list[Float64] = [
            np.zeros(len(taxonomy.level_nodes(d))) for d in range(1, taxonomy.depth + 1)
        ]  # fmt: skip
        self.features: Float64 | None = None
        #: what the features are, and for a stored profile the (H,) mean and (H, k) directions they were projected on
        self.space = ""
        self.projection: tuple[Float64, Float64] | None = None
        self._keys: Float64 = np.zeros(0)
        self._coming: Float64 = np.zeros(0)
        self.sample, self._rng = sample, np.random.default_rng(seed)

    def update(
        self,
        log_proba: FloatArray | None,
        *,
        texts: Sequence[str] | None = None,
        languages: Sequence[str] | None = None,
    ) -> None:
        """Add a batch (B, L), or texts alone, with, where known, its texts and languages."""
        none = np.empty((0, self.taxonomy.num_leaves), dtype=np.float32)
        levels = LevelProba.of(self.taxonomy, none if log_proba is None else log_proba)
        rows = len(texts or ()) if log_proba is None else len(levels)
        for name, given in (("texts", texts), ("languages", languages)):
            if given is not None and len(given) != rows:
                raise ValueError(f"{name}: got {len(given)} for {rows} rows")
        self.rows += rows
        self.confidence_sum += levels.confidence.sum(axis=0)
        for d in range(self.taxonomy.depth):
            self.prior[d] += levels.at(d + 1).sum(axis=0)
            self.confidence[d] += _histogram(levels.confidence[:, d], _CONFIDENCE_EDGES)
        if languages is not None:
            self.languages.update(str(v) for v in languages)
        if texts is not None:
            self.sizes.update(len(t.split()) for t in texts)
            self.letterless += sum(not any(map(str.isalpha, t)) for t in texts)
            self.length += _histogram([len(t) for t in texts], _LENGTH_EDGES)
            if self._oov is not None:
                self.oov += _histogram([self._oov(t) for t in texts], _OOV_EDGES)

    def set_scores(self, confidence: Float64, prior: Sequence[Float64]) -> None:
        """Confidences (n, D) of the rows, n from 0, and sums of probabilities by level, in place of those seen."""
        self.confidence = np.stack([_histogram(values, _CONFIDENCE_EDGES) for values in confidence.T])
        self.confidence_sum, self.prior = confidence.sum(axis=0), list(prior)

    @property
    def median_words(self) -> float:
        """The median number of words of a text; NaN in profiles of an older hjc."""
        counts = sorted(self.sizes.items())
        return float(np.median(np.repeat(*np.array(counts).T))) if counts else math.nan

    @property
    def median_characters(self) -> float:
        """About the median number of characters of a text, from the histogram; NaN without texts."""
        below = np.r_[0, np.cumsum(self.length)]
        return float(np.interp(below[-1] / 2, below, _LENGTH_EDGES)) if below[-1] else math.nan

    def choose(self, n: int) -> IntArray:
        """Positions among ``n`` further rows whose features are wanted; give them to :meth:`keep` at once.

        The rows with the smallest random keys are an even sample of all rows, whatever the batches; features that
        cost much are computed for those alone.
        """
        coming = self._rng.random(n)
        least = np.argsort(np.r_[self._keys, coming], kind="stable")[: self.sample]
        wanted = np.sort(least[least >= len(self._keys)]) - len(self._keys)
        self._coming = coming[wanted]
        return wanted

    def keep(self, features: npt.ArrayLike) -> None:
        """Features (m, H) of the rows that :meth:`choose` named."""
        new = np.asarray(features, dtype=np.float64)
        if len(new) != len(self._coming):
            raise ValueError(f"keep: got {len(new)} rows, choose asked for {len(self._coming)}")
        if not len(new):
            return
        keys = np.r_[self._keys, self._coming]
        rows = new if self.features is None else np.r_[self.features, new]
        least = np.sort(np.argsort(keys, kind="stable")[: self.sample])
        self._keys, self.features, self._coming = keys[least], rows[least], np.zeros(0)

    def project(self, columns: int = COLUMNS) -> None:
        """Shorten the features to ``columns`` principal directions of half of the rows; the other half stays.

        The directions fit the rows they were found on better than any others. Those are therefore not kept: the rows
        that are kept and new ones look alike where nothing changed.
        """
        if self.projection is not None or self.features is None or len(self.features) < 4:
            return
        order = self._rng.permutation(len(self.features))
        half, kept = self.features[order[: len(order) // 2]], self.features[np.sort(order[len(order) // 2 :])]
        mean = half.mean(axis=0)
        directions = np.linalg.svd(half - mean, full_matrices=False)[2][:columns].T
        self.projection = (mean, directions)
        self.features, self._keys = (kept - mean) @ directions, np.zeros(0)

    def features_for(self, reference: "Profile") -> Float64 | None:
        """The features as the reference has them.

        Raises:
            ValueError: they are of another size: of another model.
        """
        if self.features is None or reference.projection is None:
            return self.features
        mean, directions = reference.projection
        if self.features.shape[1] != len(mean):
            raise ValueError(f"features: got {self.features.shape[1]} columns, the reference has {len(mean)}")
        return np.asarray((self.features - mean) @ directions)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready. Features are kept to five digits; no text is in it."""
        projection = None if self.projection is None else [_short(x) for x in self.projection]
        return {
            "format_version": FORMAT_VERSION,
            "taxonomy_hash": self.taxonomy.hash,
            "rows": self.rows,
            "languages": dict(self.languages),
            "sizes": dict(self.sizes),
            "letterless": self.letterless,
            "length": self.length.tolist(),
            "oov": self.oov.tolist(),
            "confidence": self.confidence.tolist(),
            "confidence_sum": self.confidence_sum.tolist(),
            "prior": [p.tolist() for p in self.prior],
            "features": None if self.features is None else _short(self.features),
            "space": self.space,
            "projection": projection,
        }

    @classmethod
    def from_dict(cls, taxonomy: Taxonomy, state: Mapping[str, Any]) -> "Profile":
        """The inverse of :meth:`to_dict`, to be compared with (not updated further)."""
        if state.get("format_version") != FORMAT_VERSION or state.get("taxonomy_hash") != taxonomy.hash:
            raise ValueError("drift profile: another format or another tree; make it again from the training rows")
        out = cls(taxonomy)
        out.rows, out.languages = int(state["rows"]), Counter(state["languages"])
        out.sizes = Counter({int(words): int(rows) for words, rows in state.get("sizes", {}).items()})
        out.letterless = int(state.get("letterless", 0))
        out.length, out.oov = np.array(state["length"]), np.array(state["oov"])
        out.confidence, out.confidence_sum = np.array(state["confidence"]), np.array(state["confidence_sum"])
        out.prior = [np.array(p) for p in state["prior"]]
        out.features = None if state["features"] is None else np.array(state["features"])
        out.space = str(state.get("space", ""))
        if (projection := state.get("projection")) is not None:
            out.projection = (np.array(projection[0]), np.array(projection[1]))
        return out


@dataclass(frozen=True)
class DriftReport:
    """verdict (one of :data:`VERDICTS`), reasons (sentences), and the table of checks: check, level, statistic, value,
    noise (what chance alone would show), status ("stable", "moderate", "large")."""

    verdict: str
    reasons: tuple[str, ...]
    table: pd.DataFrame

    def __str__(self) -> str:
        return f"{self.verdict}: " + "; ".join(self.reasons)

    def lines(self) -> Iterator[list[str]]:
        """The table for a terminal: check, level, statistic, value, chance, status."""
        for line in self.table.to_dict("records"):
            noise = "" if math.isnan(line["noise"]) else f"{line['noise']:.3f}"
            where, statistic = str(line["level"] or ""), str(line["statistic"]).replace("_", " ")
            yield [line["check"], where, statistic, f"{line['value']:.3f}", noise, line["status"]]


def _status(value: float, noise: float, moderate: float, large: float) -> str:
    if value < moderate or value <= noise:
        return "stable"
    return "large" if value >= large else "moderate"


def compare_profiles(reference: Profile, new: Profile, *, seed: int = 0) -> DriftReport:
    """Compare a new batch with the reference.

    Verdict: "re-audit" (label a random sample before publishing) when texts or confidence differ largely: errors are
    then unknown. "recalibrate" when they differ moderately, or when only the predicted shares moved: the classifier may
    be as good as before under other shares; fit calibration anew, or correct shares for prior shift. "proceed"
    otherwise: where nothing changed, in at least 1 - :data:`LEVEL` of batches, of whatever size. No check can see that
    a code's meaning changed: audit from time to time whatever the verdict.

    Raises:
        ValueError: other trees, or a profile without rows.
    """
    if reference.taxonomy != new.taxonomy:
        raise ValueError("compare_profiles: the two profiles are on different trees")
    if not reference.rows or not new.rows:
        raise ValueError(f"compare_profiles: got {reference.rows} and {new.rows} rows, expected some in each")
    lines: list[dict[str, Any]] = []
    spoken, scored = reference.languages and new.languages, reference.confidence.any() and new.confidence.any()
    features = None if reference.features is None else new.features_for(reference)
    # every check may err in its part of the level (Bonferroni), so that all together keep it
    part = LEVEL / (2 * bool(spoken) + 2 + 2 * reference.taxonomy.depth * bool(scored) + 2 * (features is not None))

    def add(check: str, level: int, statistic: str, value: float, noise: float, status: str) -> None:
        lines.append(
            {"check": check, "level": level, "statistic": statistic, "value": value, "noise": noise, "status": status}
        )  # fmt: skip

    def add_psi(check: str, level: int, a: Float64, b: Float64) -> tuple[Float64, Float64]:
        drawn = null_counts(a, b, seed=seed)
        value, noise = float(psi(a, b)), quantile(psi(*drawn), 1 - part)
        add(check, level, "psi", value, noise, _status(value, noise, MODERATE, LARGE))
        return drawn

    reasons: list[str] = []
    if spoken:
        names = sorted(set(reference.languages) | set(new.languages))
        counts = [np.array([p.languages[n] for n in names], dtype=np.float64) for p in (reference, new)]
        before, after = add_psi("language mix", 0, *counts)
        unknown = [n for n in names if not reference.languages[n]]
        share = sum(new.languages[n] for n in unknown) / sum(new.languages.values())
        noise = quantile((after * (before == 0)).sum(axis=1) / counts[1].sum(), 1 - part)
        status = _status(share, noise, NEW_LANGUAGE_MODERATE, NEW_LANGUAGE_LARGE)
        add("new languages", 0, "share", share, noise, status)
        if status != "stable":
            reasons.append(
                f"{share:.0%} of rows are in languages that the reference did not have: {name_some(unknown)}"
            )
    if reference.length.sum() and new.length.sum():
        add_psi("text length", 0, reference.length, new.length)
    if reference.oov.sum() and new.oov.sum():
        add_psi("out of vocabulary", 0, reference.oov, new.oov)
    for d in range(reference.taxonomy.depth if scored else 0):
        add_psi("confidence", d + 1, reference.confidence[d], new.confidence[d])
        add_psi("predicted shares", d + 1, reference.prior[d], new.prior[d])
        distance = jensen_shannon(reference.prior[d], new.prior[d])
        add("predicted shares", d + 1, "jensen_shannon", distance, np.nan, lines[-1]["status"])
    if reference.features is not None and features is not None:
        _feature_tests(reference.features, features, part, seed, add)
    table = pd.DataFrame(lines)
    verdict, more = _verdict(table, reference, new)
    return DriftReport(verdict, (*reasons, *more), table)


def _feature_tests(a: Float64, b: Float64, level: float, seed: int, add: Callable[..., None]) -> None:
    if min(len(a), len(b)) >= 8:
        found = classifier_test(a, b, seed=seed)
        sure = found.p_value < level
        status = _status(found.statistic, 0.0, AUC_MODERATE, AUC_LARGE) if sure else "stable"
        add("features", 0, "classifier_auc", found.statistic, 0.5, status)
    if min(len(a), len(b)) >= 2:
        other = mmd_test(a, b, seed=seed)
        # With enough rows any difference is significant; how large it is the classifier's AUC says.
        add("features", 0, "mmd_p_value", other.p_value, np.nan, "moderate" if other.p_value < level else "stable")


def _verdict(table: pd.DataFrame, reference: Profile, new: Profile) -> tuple[str, list[str]]:
    reasons: list[str] = []
    worst = {"stable": 0, "moderate": 1, "large": 2}
    by_check = table.assign(rank=table.status.map(worst)).groupby("check", sort=False)["rank"].max()
    words = {1: "moderately", 2: "largely"}
    for check, rank in by_check.items():
        if rank and check != "new languages":
            at = table[(table.check == check) & (table.status == ("moderate", "large")[int(rank) - 1])].iloc[0]
            where = f" at level {at.level}" if at.level else ""
            reasons.append(f"{check} differ{'' if str(check).endswith('s') else 's'} {words[int(rank)]}{where} "
                           f"({at.statistic} {at.value:.3g})")  # fmt: skip
    if reasons and by_check.get("confidence", 0):
        before, after = (p.confidence_sum[-1] / p.rows for p in (reference, new))
        reasons.append(f"mean confidence at the deepest level went from {before:.2f} to {after:.2f}")
    inputs = by_check.drop(labels=["predicted shares"], errors="ignore")
    if (inputs == 2).any():
        verdict = "re-audit"
    elif (by_check > 0).any():
        verdict = "recalibrate"
    else:
        verdict = "proceed"
        reasons.append("no check shows a difference beyond chance that matters")
    if min(reference.rows, new.rows) < MIN_ROWS:
        reasons.append(f"only {min(reference.rows, new.rows)} rows: small differences cannot be seen")
    return verdict, reasons
