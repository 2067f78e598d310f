"""The bi-encoder: texts and labels through one encoder that a ranking loss fine-tunes.

The loss (van den Oord et al. 2018, Henderson et al. 2017; :mod:`hjc.nn.ranking`) of a
row with text a, label text p and the candidates C of its batch (label texts of all rows, and hard negatives) is
-ln [exp(s cos(a, p)) / sum over c in C of exp(s cos(a, c))]. Labels are known by their texts alone, so that codes added
later need no training (:meth:`~hjc.classifiers.embedding.base.EmbeddingClassifier.for_taxonomy`).
"""

import logging
from collections import defaultdict
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from hjc.classifiers.embedding.base import MAX_ROWS, EmbeddingClassifier, fit_scale
from hjc.classifiers.embedding.encoders import load_pretrained
from hjc.classifiers.embedding.labels import LabelTexts, read_texts
from hjc.classifiers.embedding.settings import USE, BiEncoderSettings
from hjc.classifiers.fitting import check_data, run_of
from hjc.classifiers.treemath import gold_log_proba, log_softmax
from hjc.corpus.passages import split_description
from hjc.data.jobdata import JobData
from hjc.nn.pairs import NO_TARGET, Negative, PairBatches

logger = logging.getLogger(__name__)

#: label texts that a validation during training encodes at most (or one a leaf)
MAX_TEXTS = 8000


class BiEncoderClassifier(EmbeddingClassifier):
    """Fine-tunes an encoder so that a text lies near the texts of its label.

    Rows of weight 0 are left out of training; other weights do not matter to a ranking loss (a warning says so).
    """

    name: ClassVar[str] = "biencoder"
    settings_class = BiEncoderSettings

    def fit_data(self, train: JobData, valid: JobData | None = None, *, run_dir: Path | None = None) -> Self:
        """Fine-tune on labelled rows; keep the best weights by validation log-loss (at the best scale) of all leaves.

        A gold code may be an inner node: a leaf under it is taken by chance in every epoch. ``run_dir`` receives
        ``checkpoints/`` (to resume) and ``logs/``. Without ``valid`` the last weights are kept.

        Raises:
            ValueError: no rows, unlabelled rows, another taxonomy than the classifier's, a frozen encoder.
        """
        s, t = self.settings, self.trainer
        if s.encoder == USE:
            raise ValueError(f"model.encoder={USE} cannot be fine-tuned; choose another encoder, or model=prototype")
        from hjc.nn.ranking import fit_encoder
        from hjc.nn.text_encoder import TorchTextEncoder

        valid = check_data(train, valid, self.taxonomy)
        train = train.spread()  # a pair for each code of a row
        train = _with_weight(train)
        labels = self._label_texts()
        excluded = self._excluded() if s.hard_negatives else []
        texts = [*labels.texts, *(text for _, text, _ in excluded)]
        elsewhere: dict[int, list[Negative]] = defaultdict(list)
        for i, (node, _, target) in enumerate(excluded):
            elsewhere[node].append(Negative(len(labels.texts) + i, target))
        corpus = [*train.texts, *(valid.texts if valid is not None else ())]
        encoder = load_pretrained(s, corpus, texts, seed=t.seed)
        assert isinstance(encoder, TorchTextEncoder)
        self.encoder = None  # until it is fitted
        batches = PairBatches(
            self.taxonomy,
            train.gold,
            labels.leaf,
            batch_size=t.batch_size,
            hard_negatives=s.hard_negatives,
            seed=t.seed,
            elsewhere=elsewhere,
        )
        if (used := batches.rows_per_epoch) < len(train):
            logger.info(
                "%d of %d rows an epoch: codes with more than %d rows send others every time",
                used,
                len(train),
                len(batches),
            )
        self.fit_result = fit_encoder(
            encoder,
            train.texts,
            texts,
            batches,
            run_of(s, t, train, valid, run_dir, self.callback),
            scale=s.ranking_scale,
            score=None if valid is None else lambda: self._score(encoder, labels, valid),
        )
        self.encoder = encoder
        self.labels = self._index(labels)
        self._fit_scale(valid)
        return self

    def _score(self, encoder: Any, labels: LabelTexts, valid: JobData) -> float:
        """Validation log-loss (nats) of an encoder, at the scale that is best for it.

        Of very many label texts some are drawn: encoding them all would take longer than the training in between.
        """
        random = np.random.default_rng(self.trainer.seed)
        rows = valid.take(np.sort(random.permutation(len(valid))[:MAX_ROWS]))
        if len(labels.texts) > MAX_TEXTS:
            labels = some_texts(labels, MAX_TEXTS, random)
        vectors = encoder.encode(labels.texts, progress=False)
        cosines = self._label_index(vectors, labels).scores(encoder.encode(rows.texts, progress=False))
        scale = fit_scale(self.taxonomy, cosines, rows.gold, rows.weight)
        gold = gold_log_proba(log_softmax(np.float32(scale) * cosines), self.taxonomy.leaf_slice[rows.gold])
        return -float(np.average(gold, weights=rows.weight))

    def _excluded(self) -> list[tuple[int, str, int]]:
        """(node, text, node that the text is of or -1) for texts that are said not to be of a node.

        From ``negatives_file`` where one is given, else from the "classified elsewhere" passages of descriptions.
        """
        tree = self.taxonomy
        found: dict[tuple[int, str, int], None] = {}
        if self.settings.negatives_file:
            return self._from_negatives_file()
        wanted = self.settings.label_languages or list(tree.descriptions)
        for language in (x for x in tree.descriptions if x in wanted):
            for node, description in enumerate(tree.descriptions[language]):
                for item in split_description(description, language).exclusions if description else ():
                    found[node, item.text, tree.index_of.get(item.target, NO_TARGET)] = None
        return [(n, text, target) for n, text, target in found if not self._related(n, target)]

    def _from_negatives_file(self) -> list[tuple[int, str, int]]:
        """Rows of a file of `hjc data from-taxonomy`: columns text, code and target."""
        s, tree = self.settings, self.taxonomy
        path, table = read_texts(
            "model.negatives_file", s.negatives_file, ("text", "code", "target"), s.label_languages
        )
        cells = zip(table["code"].tolist(), table["text"].tolist(), table["target"].tolist(), strict=True)
        found = {
            (tree.index_of[code], " ".join(text.split()), tree.index_of.get(target, NO_TARGET)): None
            for code, text, target in cells
            if isinstance(text, str) and text.strip() and code in tree.index_of
        }
        if not found:
            raise ValueError(
                f"model.negatives_file: none of the {len(table):,} rows of {path} is about a code of {tree.name!r}"
            )
        return [(n, text, target) for n, text, target in found if not self._related(n, target)]

    def _related(self, node: int, target: int) -> bool:
        """Whether one of two nodes lies above the other: then the target is no wrong answer."""
        if target == NO_TARGET:
            return False
        (a, b), (c, d) = self.taxonomy.leaf_slice[[node, target]].tolist()
        return bool(a < d and c < b)


def _with_weight(train: JobData) -> JobData:
    """Rows of positive weight; says so where weights are not all the same."""
    if train.weight[0] > 0 and (train.weight == train.weight[0]).all():
        return train
    logger.warning("the ranking loss of a bi-encoder knows no weights: rows of weight 0 are left out, others count 1")
    kept = train.take(train.weight > 0)
    if not len(kept):
        raise ValueError("train: every row has weight 0")
    return kept


def some_texts(labels: LabelTexts, count: int, random: np.random.Generator) -> LabelTexts:
    """At most ``count`` texts drawn at random, but one of every leaf at least."""
    order = random.permutation(len(labels.texts))
    _, first = np.unique(labels.leaf[order], return_index=True)
    later = np.setdiff1d(np.arange(len(order)), first)
    kept = np.sort(order[np.concatenate([first, later[: max(0, count - len(first))]])])
    return LabelTexts(tuple(labels.texts[i] for i in kept.tolist()), labels.leaf[kept], labels.missing)
