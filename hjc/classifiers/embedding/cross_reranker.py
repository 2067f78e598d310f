"""A cross-encoder as re-ranker: it reads ad and label together."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hjc.arrays import FloatArray, IntArray
from hjc.classifiers.embedding.candidates import Answers, Retrieved, Retriever
from hjc.classifiers.embedding.labels import LabelIndex
from hjc.classifiers.embedding.settings import USE, RetrievalSettings
from hjc.classifiers.fitting import run_of
from hjc.classifiers.treemath import chunks
from hjc.data.jobdata import JobData
from hjc.nn.settings import NeuralSettings, TrainerSettings
from hjc.progress import rows_progress

FOLDER = "cross_encoder"
#: special tokens of a pair
PAIR_TOKENS = 3
#: validation rows that training is watched by
VALID_ROWS = 1000
#: rows whose cosines with all leaves are held together
CHUNK = 2048


class CrossEncoderReranker:
    """A re-ranker, fine-tuned on lists of the right label and the nearest wrong ones."""

    #: a forward pass for each pair
    choice_rows = 500

    def __init__(self, settings: RetrievalSettings, trainer: TrainerSettings) -> None:
        self.settings, self.trainer = settings, trainer
        self.model: Any = None
        self.status = "finished"
        self.fit_result: Any = None

    def _lengths(self) -> dict[str, Any]:
        s = self.settings
        return {"max_length": s.max_length, "precision": s.precision}

    def fit(self, owner: Retriever, train: JobData, valid: JobData | None, run_dir: Path | None) -> None:
        """Fine-tune the pre-trained encoder of the settings on pairs of training texts and labels.

        Rows whose gold code is an inner node take the leaf under it that is nearest to them as the right one.

        Raises:
            ValueError: the encoder cannot be trained (``use-multilingual``), or the tree has fewer than two leaves.
        """
        from hjc.nn.encoder import load_encoder
        from hjc.nn.fitting import seed_everything
        from hjc.nn.ranking import fit_cross_encoder
        from hjc.nn.text_encoder import CrossEncoder, PairScorer

        s, seed = self.settings, self.trainer.seed
        encoder = s.cross_encoder or s.encoder
        if encoder == USE:
            raise ValueError(
                f"model.reranker=cross_encoder fine-tunes an encoder, and {USE} cannot be trained: set "
                "model.cross_encoder to a hub name, a folder or tiny"
            )
        assert owner.labels is not None
        corpus = [*train.texts, *(valid.texts if valid is not None else ())]
        neural = NeuralSettings(
            encoder=encoder,
            pooling=s.pooling,
            max_length=2 * s.max_length + PAIR_TOKENS,  # it reads text and label together
            tiny_hidden=s.tiny_hidden,
            tiny_layers=s.tiny_layers,
            tiny_vocabulary=s.tiny_vocabulary,
        )
        seed_everything(seed)
        model, tokenizer = load_encoder(neural, corpus, list(owner.labels.texts), seed=seed)
        seed_everything(seed)  # however many random numbers the encoder took
        self.model = CrossEncoder(PairScorer(model, s.pooling), tokenizer, **self._lengths())
        lists = self._lists(owner, owner.labels, train)
        held_out = None
        if valid is not None:
            held_out = self._lists(owner, owner.labels, valid.take(np.arange(min(len(valid), VALID_ROWS))))
        run = run_of(s, self.trainer, train, valid, run_dir, owner.callback)
        self.fit_result = fit_cross_encoder(self.model, lists, held_out, run)
        self.status = self.fit_result.status

    def _lists(self, owner: Retriever, index: LabelIndex, data: JobData) -> Any:
        """For each row its label and the nearest wrong ones."""
        from hjc.nn.ranking import Lists

        leaves = owner.taxonomy.num_leaves
        size = min(self.settings.list_size, leaves)
        span = owner.taxonomy.leaf_slice[data.gold]
        labels, queries = np.empty((len(data), size), dtype=np.int64), []
        with rows_progress("finding wrong labels", len(data)) as bar:
            for rows, texts in chunks(data.texts, CHUNK):
                found = owner.retrieve(texts)
                chosen = np.empty((len(rows), size), dtype=np.int64)
                for i, ((first, last), row) in enumerate(zip(span[rows].tolist(), found.cosines, strict=True)):
                    right = first + int(np.argmax(row[first:last]))
                    row[first:last] = -np.inf
                    chosen[i] = [right, *np.argpartition(-row, size - 2)[: size - 1]]
                labels[rows] = index.nearest_texts(found.vectors, chosen)
                queries += [ad.query for ad in found.ads]
                bar.advance(len(rows))
        # a tree whose gold node covers all leaves but one leaves no wrong ones: such rows teach nothing
        usable = np.flatnonzero((span[:, 1] - span[:, 0]) <= leaves - (size - 1))
        corpus = self.model.corpus(queries, index.texts)
        return Lists(corpus, usable, labels[usable], data.weight[usable].astype(np.float32))

    def score(self, owner: Retriever, found: Retrieved, leaf: IntArray) -> Answers:
        """See :data:`~.candidates.Answers`; never declines."""
        assert owner.labels is not None
        labels = owner.labels.nearest_texts(found.vectors, leaf)
        used, index = np.unique(labels, return_inverse=True)
        corpus = self.model.corpus([ad.query for ad in found.ads], [owner.labels.texts[i] for i in used])
        rows = np.repeat(np.arange(len(leaf)), leaf.shape[1])
        scores: FloatArray = self.model.score(corpus, rows, index.reshape(-1)).reshape(leaf.shape)
        return scores, {}

    def describe(self) -> dict[str, Any]:
        return {"kind": "cross_encoder", **(asdict(self.fit_result) if self.fit_result is not None else {})}

    def save(self, folder: Path) -> None:
        self.model.save(folder / FOLDER)

    def load(self, folder: Path) -> None:
        from hjc.nn.text_encoder import CrossEncoder

        self.model = CrossEncoder.load(folder / FOLDER, pooling=self.settings.pooling, **self._lengths())
