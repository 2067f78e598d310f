"""LookupClassifier: texts are coded by an index of titles, alone or before another classifier.

P(leaf | text) = w E(leaf) + (1 - w) M(leaf): E are the shares of the codes of the entries that the text was found by, M
is what the classifier behind it says (alone: the shares of codes in the index). w, how far an entry is to be believed,
is the weight of greatest likelihood on validation rows, for each stage, band of scores, and for entries of one code and
of several. A text that is not found has w = 0. So levels agree, and probabilities can be calibrated as any other's.
B rows, L leaves.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from hjc.arrays import Float64, FloatArray, IntArray
from hjc.classifiers import read_classifier
from hjc.classifiers.base import LOG_PROBA_FLOOR, Classifier
from hjc.classifiers.fitting import check_data
from hjc.classifiers.lookup_settings import STAGES, LookupSettings
from hjc.classifiers.storage import ModelDir
from hjc.classifiers.title_index import NO_MATCH, Matches, TitleIndex, lead_of
from hjc.data.codesets import CodeSets
from hjc.data.jobdata import JobData
from hjc.data.reading import read_job_data
from hjc.data.settings import DataSettings
from hjc.files import read_json, write_json
from hjc.metrics import prior_log_proba
from hjc.taxonomy import Taxonomy
from hjc.taxonomy.csvio import UNDETERMINED

logger = logging.getLogger(__name__)

INDEX_FILE, WEIGHTS_FILE, BASE_FOLDER = "index.csv", "lookup.json", "base"
#: scores at which the next band of the stage tokens begins
BANDS = (0.8, 0.9, 0.99)
#: w where no validation row tells, of entries of one code and of several: declared, and said. Exact, stem, and tokens
#: from the least score on and from each of BANDS on
DEFAULT_WEIGHTS = ((0.8, 0.6), (0.7, 0.5), (0.4, 0.25), (0.45, 0.25), (0.5, 0.3), (0.6, 0.4))
#: rows of a prior at these that each band's own rows are weighed against
PRIOR_ROWS = 5.0
_EM_STEPS = 200
#: outcome of texts that are not found, where nothing is behind the index
NOT_FOUND = "not found"


class LookupClassifier(Classifier):
    """See the module.

    Args:
        taxonomy: the tree whose leaves are predicted.
        settings: what is in the index, and how texts are found.
        base: the classifier behind it; None: the index alone.
    """

    name: ClassVar[str] = "lookup"
    has_outcomes = True

    def __init__(
        self, taxonomy: Taxonomy, settings: LookupSettings | None = None, base: Classifier | None = None
    ) -> None:
        super().__init__(taxonomy)
        self.settings, self.base = settings or LookupSettings(), base
        self.index: TitleIndex | None = None
        #: (bands,) w of each band of :meth:`_bands`, and the validation rows that it is from
        self.weights: Float64 = np.array(DEFAULT_WEIGHTS).ravel()
        self.rows: IntArray = np.zeros(len(self.weights), dtype=np.int64)
        self._prior: Float64 = np.zeros(0)

    @property
    def is_fitted(self) -> bool:
        return self.index is not None

    @property
    def parameters(self) -> Mapping[str, Any]:
        behind = {} if self.base is None else {f"base.{k}": v for k, v in self.base.parameters.items()}
        return {**asdict(self.settings), "before": None if self.base is None else self.base.name, **behind}

    def stored_parameters(self) -> Mapping[str, Any]:
        return asdict(self.settings) | {"base": self.base is not None}

    # ------------------------------------------------------------------ fitting

    def fit_data(self, train: JobData, valid: JobData | None = None, *, run_dir: Path | None = None) -> Self:
        """Fit what is behind the index, make the index, and weigh it on the validation rows.

        Raises:
            ValueError: the index would be empty, or has no usable row.
        """
        held = check_data(train, valid, self.taxonomy)
        if self.base is not None:
            self.base.recipe, self.base.callback = self.recipe, self.callback
            self.base.fit_data(train, valid, run_dir=run_dir)
            self.fit_result = self.base.fit_result
        self._take_index(self._make_index(train))
        if "stem" in self.settings.stages and (left := self._index.without_stems):
            named = ", ".join(f"{name or 'not said'} {n:,}" for name, n in left.items())
            logger.warning(
                "lookup.stages: %d of %d titles are of languages without stems (%s), and are found by the other stages "
                "only; lookup.language says that of titles without one",
                sum(left.values()), len(self._index), named,
            )  # fmt: skip
        if held is None:
            logger.warning("no validation rows: entries of the index are believed as declared, %s", DEFAULT_WEIGHTS)
            return self
        self._weigh(held)
        return self

    def _make_index(self, train: JobData) -> TitleIndex:
        s, tree = self.settings, self.taxonomy
        parts: list[JobData] = []
        if s.index:
            given = DataSettings(
                train=[s.index], text_columns=[s.index_text_column], code_column=s.index_code_column,
                other_codes_column=s.index_other_codes_column, code_separator=s.index_code_separator,
                language_column=s.index_language_column,
            )  # fmt: skip
            found, rejects = read_job_data(s.index, tree, given)
            if len(rejects):
                logger.warning("lookup.index: %d rows cannot be used; hjc data index lists them", len(rejects))
            parts.append(found)
        if s.training:
            own = np.isin(train.source, s.sources) if s.sources else np.ones(len(train), dtype=bool)
            if not own.any():
                raise ValueError(f"lookup.sources: no training row is of {s.sources}; sources are {set(train.source)}")
            parts.append(train.take(own))
        if s.titles:
            parts += [_titles(tree, language) for language in tree.titles]
        if not parts:
            raise ValueError("lookup: set lookup.index, lookup.training or lookup.titles: the index would be empty")
        texts = [text for part in parts for text in lead_of(part.texts, s.lead)]
        target = CodeSets.concat(part.sets or CodeSets.of_gold(part.gold) for part in parts)
        weight = np.concatenate([part.weight for part in parts])
        language = [s.language if own in ("", UNDETERMINED) else own for part in parts for own in part.language]
        return TitleIndex.build(tree, texts, target, weight, language)

    def _take_index(self, index: TitleIndex) -> None:
        if not len(index):
            raise ValueError("lookup: no title with a word is in the index")
        self.index, self.side = index, None if self.base is None else self.base.side
        self._prior = prior_log_proba(self.taxonomy, index.codes.nodes, index.codes.weights)

    def _weigh(self, valid: JobData) -> None:
        """w by expectation maximisation: the chance that an entry, and not what is behind it, gave the gold code."""
        own, behind, band = (np.zeros(len(valid)) for _ in range(3))
        allowed = valid.sets or CodeSets.of_gold(valid.gold)
        for rows, log_proba, matches, _ in self._parts(valid.texts):
            inside = np.isfinite(allowed[rows].leaf_log_weights(self.taxonomy))
            behind[rows] = np.where(inside, np.exp(log_proba.astype(np.float64)), 0.0).sum(axis=1)
            band[rows] = self._bands(matches)
            for i, entries in enumerate(matches.entries):
                if entries:
                    own[rows[i]] = self._index.leaf_shares(entries)[inside[i]].sum()
        for b in range(len(self.weights)):
            here = band == b
            default = w = float(np.ravel(DEFAULT_WEIGHTS)[b])
            self.rows[b] = int(here.sum())
            for _ in range(_EM_STEPS if here.any() else 0):
                both = w * own[here] + (1 - w) * behind[here]
                mine = np.divide(w * own[here], both, out=np.full(len(both), 0.5), where=both > 0)
                w = float((mine.sum() + PRIOR_ROWS * default) / (here.sum() + PRIOR_ROWS))
            self.weights[b] = w

    def _bands(self, matches: Matches) -> IntArray:
        """(B,) number of the band of each text, -1 where it was not found."""
        of_stage = np.where(
            matches.stage == STAGES.index("tokens"), 2 + np.searchsorted(BANDS, matches.score, side="right"),
            matches.stage,
        )  # fmt: skip
        several = np.array([len(self._index.counts(entries)) > 1 for entries in matches.entries], dtype=np.int64)
        return np.where(matches.stage == NO_MATCH, -1, 2 * of_stage + several)

    @property
    def trust(self) -> list[dict[str, Any]]:
        """For people: each band with its w, and the validation rows that it is from."""
        edges = ("least", *BANDS)
        names = ["exact", "stem", *(f"tokens from {edge}" for edge in edges)]
        codes, weights = ("one", "several"), zip(self.weights.tolist(), self.rows.tolist(), strict=True)
        return [
            {"stage": names[b // 2], "codes": codes[b % 2], "weight": round(w, 4), "rows": n}
            for b, (w, n) in enumerate(weights)
        ]

    # ------------------------------------------------------------------ prediction

    @property
    def _index(self) -> TitleIndex:
        self.check_fitted()
        assert self.index is not None
        return self.index

    def _parts(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray, Matches, list[tuple[str, str]]]]:
        """Rows, what is behind the index (B, L), how they were found, and outcomes of what is behind."""
        s = self.settings
        if self.base is not None:
            found: Any = self.base.iter_outcomes(texts)
        else:
            starts = range(0, len(texts), s.batch_size)
            each = (np.arange(start, min(start + s.batch_size, len(texts))) for start in starts)
            prior = self._prior.astype(np.float32)
            found = ((rows, np.tile(prior, (len(rows), 1)), [(NOT_FOUND, "")] * len(rows)) for rows in each)
        for rows, log_proba, outcomes in found:
            wanted = lead_of([texts[i] for i in rows.tolist()], s.lead)
            yield rows, log_proba, self._index.match(wanted, s.stages, s.least_score), outcomes

    def iter_outcomes(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray, list[tuple[str, str]]]]:
        """See the base class: the stage that coded a row and the entry; else ``model``, or what is behind says."""
        for rows, log_proba, matches, outcomes in self._parts(texts):
            band, out = self._bands(matches), np.array(log_proba, dtype=np.float64)
            said = [(outcome or "model", reason) for outcome, reason in outcomes]
            for i in np.flatnonzero(band >= 0).tolist():
                w, entries = self.weights[band[i]], matches.entries[i]
                with np.errstate(divide="ignore"):
                    own = np.log(w * self._index.leaf_shares(entries))
                out[i] = np.logaddexp(own, np.log1p(-w) + out[i])
                said[i] = (STAGES[matches.stage[i]], self._index.says(entries, float(matches.score[i])))
            np.maximum(out, LOG_PROBA_FLOOR, out=out)
            out -= np.logaddexp.reduce(out, axis=1, keepdims=True)
            yield rows, out.astype(np.float32), said

    def iter_log_proba(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray]]:
        for rows, log_proba, _ in self.iter_outcomes(texts):
            yield rows, log_proba

    # ------------------------------------------------------------------ storage

    def write_files(self, folder: Path) -> None:
        """index.csv, lookup.json, and what is behind it whole in ``base/``."""
        self._index.write(folder / INDEX_FILE)
        write_json(folder / WEIGHTS_FILE, {"weights": self.weights.tolist(), "rows": self.rows.tolist()})
        if self.base is not None:
            self.base.save_pretrained(folder / BASE_FOLDER)

    @classmethod
    def read_files(cls, model: ModelDir) -> Self:
        behind = model.parameters.get("base")
        if not isinstance(behind, bool):
            raise ValueError("config.json does not say whether a classifier is behind the index; save the model again")
        base = read_classifier(model.path / BASE_FOLDER) if behind else None
        self = cls(model.taxonomy, model.settings(LookupSettings, but=("base",)), base)
        stored = read_json(model.file(WEIGHTS_FILE))
        weights, rows = np.asarray(stored["weights"], dtype=np.float64), np.asarray(stored["rows"], dtype=np.int64)
        if weights.shape != self.weights.shape or not ((weights > 0) & (weights < 1)).all():
            raise ValueError(f"{WEIGHTS_FILE}: {len(self.weights)} weights between 0 and 1 are needed")
        self.weights, self.rows = weights, rows
        self._take_index(TitleIndex.read(model.file(INDEX_FILE), model.taxonomy))
        return self


def _titles(taxonomy: Taxonomy, language: str) -> JobData:
    """Titles of the leaves in a language."""
    pairs = [
        (title, code)
        for title, code, leaf in zip(taxonomy.titles[language], taxonomy.codes, taxonomy.is_leaf, strict=True)
        if title and leaf
    ]
    titles, codes = [title for title, _ in pairs], [code for _, code in pairs]
    return JobData.from_lists(taxonomy, titles, codes, [language] * len(pairs))
