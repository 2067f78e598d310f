"""Re-rankers of candidates as the retrieval classifier uses them: fit, score, save, load."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hjc.arrays import FloatArray, IntArray
from hjc.classifiers.embedding.labels import LabelIndex
from hjc.classifiers.embedding.settings import RetrievalSettings
from hjc.classifiers.fitting import run_fingerprint
from hjc.data.jobdata import JobData
from hjc.nn.settings import TrainerSettings
from hjc.rerank.extraction import Extraction, RulesExtractor
from hjc.taxonomy import Taxonomy

if TYPE_CHECKING:
    from hjc.classifiers.embedding.retrieval import RetrieveAndRerankClassifier


CROSS_FOLDER = "cross_encoder"
#: special tokens of a pair
PAIR_TOKENS = 3


@dataclass(frozen=True)
class Ad:
    """A text, what was extracted from it, and what of it is encoded."""

    text: str
    extraction: Extraction
    query: str


def read_ads(texts: Sequence[str], extraction: bool) -> list[Ad]:
    """Ads with their extractions; ``query`` is the whole text without ``extraction``, or where that finds none."""
    found = RulesExtractor().extract(texts)
    return [
        Ad(text, part, (part.text() if extraction else "") or text) for text, part in zip(texts, found, strict=True)
    ]


class CandidateReranker(Protocol):
    """What the classifier asks of a re-ranker."""

    #: validation rows that choosing the number of candidates may cost
    choice_rows: int
    status: str

    def fit(
        self, owner: "RetrieveAndRerankClassifier", train: JobData, valid: JobData | None, run_dir: Path | None
    ) -> None: ...

    def score(
        self,
        owner: "RetrieveAndRerankClassifier",
        ads: Sequence[Ad],
        vectors: FloatArray,
        leaf: IntArray,
        cosines: FloatArray,
    ) -> tuple[FloatArray, dict[int, tuple[str, str]]]:
        """(B, k) scores of the candidates of B ads, higher is better, and row -> (status, reason) where it has none.

        The status is declined, failed (no usable answer) or budget (not asked: a limit was reached).

        ``vectors`` (B, H) are those of the ads, ``cosines`` (B, k) those of the candidates.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """For train.yaml."""
        ...

    def save(self, folder: Path) -> None: ...


def build_reranker(
    settings: RetrievalSettings, trainer: TrainerSettings, taxonomy: Taxonomy
) -> CandidateReranker | None:
    """The unfitted re-ranker that the settings name; None for ``none``."""
    if settings.reranker == "none":
        return None
    if settings.reranker == "cross_encoder":
        return CrossEncoderReranker(settings, trainer)
    from hjc.classifiers.embedding.backends import BackendReranker

    return BackendReranker(settings, taxonomy)


def read_reranker(folder: Path, settings: RetrievalSettings, taxonomy: Taxonomy) -> CandidateReranker | None:
    """What :meth:`CandidateReranker.save` wrote into a model directory."""
    if settings.reranker == "none":
        return None
    if settings.reranker == "cross_encoder":
        return CrossEncoderReranker.load(folder, settings)
    from hjc.classifiers.embedding.backends import BackendReranker

    return BackendReranker.load(folder, settings, taxonomy)


def candidate_labels(labels: LabelIndex, vectors: FloatArray, leaf: IntArray) -> IntArray:
    """(B, k) for each candidate leaf the number of that label text of it that is nearest to the ad."""
    starts = np.searchsorted(labels.leaf, np.arange(labels.num_leaves + 1))
    if (np.diff(starts) == 1).all():
        return starts[leaf].astype(np.int64)
    out = np.empty(leaf.shape, dtype=np.int64)
    for row, (vector, own) in enumerate(zip(vectors, leaf, strict=True)):
        for column, one in enumerate(own.tolist()):
            first, last = starts[one], starts[one + 1]
            out[row, column] = first + int(np.argmax(labels.vectors[first:last] @ vector))
    return out


class CrossEncoderReranker:
    """Reads ad and label together; fine-tuned on lists of the right label and the nearest wrong ones."""

    #: a forward pass for each pair
    choice_rows = 500

    def __init__(self, settings: RetrievalSettings, trainer: TrainerSettings) -> None:
        self.settings, self.trainer = settings, trainer
        self.model: Any = None
        self.status = "finished"
        self.fit_result: Any = None

    def fit(
        self, owner: "RetrieveAndRerankClassifier", train: JobData, valid: JobData | None, run_dir: Path | None
    ) -> None:
        """Fine-tune the pre-trained encoder of the settings on pairs of training texts and labels.

        Rows whose gold code is an inner node take the leaf under it that is nearest to them as the right one.

        Raises:
            ValueError: the encoder cannot be trained (``use-multilingual``), or the tree has fewer than two leaves.
        """
        from hjc.classifiers.embedding.settings import USE
        from hjc.nn.cross_encoder import CrossEncoder, PairScorer
        from hjc.nn.cross_encoder_training import fit_cross_encoder
        from hjc.nn.encoder import load_encoder
        from hjc.nn.seed import seed_everything
        from hjc.nn.settings import NeuralSettings

        s = self.settings
        encoder = s.cross_encoder or s.encoder
        if encoder == USE:
            raise ValueError(
                f"model.reranker=cross_encoder fine-tunes an encoder, and {USE} cannot be trained: set "
                "model.cross_encoder to a hub name, a folder or tiny"
            )
        assert owner.labels is not None
        texts = list(owner.labels.texts)
        corpus = [*train.texts, *(valid.texts if valid is not None else ())]
        neural = NeuralSettings(
            encoder=encoder,
            pooling=s.pooling,
            max_length=2 * s.max_length + PAIR_TOKENS,  # it reads text and label together
            tiny_hidden=s.tiny_hidden,
            tiny_layers=s.tiny_layers,
            tiny_vocabulary=s.tiny_vocabulary,
        )
        seed_everything(self.trainer.seed)
        model, tokenizer = load_encoder(neural, corpus, texts, seed=self.trainer.seed)
        seed_everything(self.trainer.seed)  # however many random numbers the encoder took
        self.model = CrossEncoder(
            PairScorer(model, s.pooling),
            tokenizer,
            max_length=s.max_length,
            label_length=s.max_length,
            precision=s.precision,
        )
        lists = {"train": self._lists(owner, train)}
        if valid is not None:
            lists["valid"] = self._lists(owner, valid.take(np.arange(min(len(valid), 1000))))
        print_of = run_fingerprint(s, self.trainer, train, valid)
        self.fit_result = fit_cross_encoder(
            self.model, lists["train"], lists.get("valid"), self.trainer, run_dir, print_of
        )
        self.status = self.fit_result.status

    def _lists(self, owner: "RetrieveAndRerankClassifier", data: JobData) -> Any:
        from hjc.nn.cross_encoder_training import Lists

        size = min(self.settings.list_size, owner.taxonomy.num_leaves)
        assert owner.labels is not None
        ads = owner.ads(data.texts)
        vectors = owner.encode_ads(ads)
        chosen = np.empty((len(data), size), dtype=np.int64)
        span = owner.taxonomy.leaf_slice[data.gold]
        for start in range(0, len(data), 2048):
            cosines = owner.labels.scores(vectors[start : start + 2048])
            for i, row in enumerate(cosines):
                first, last = span[start + i]
                right = first + int(np.argmax(row[first:last]))
                row[first:last] = -np.inf
                wrong = np.argpartition(-row, size - 2)[: size - 1]
                chosen[start + i] = [right, *wrong]
        # a tree whose gold node covers all leaves but one leaves no wrong ones: such rows teach nothing
        usable = (span[:, 1] - span[:, 0]) <= owner.taxonomy.num_leaves - (size - 1)
        labels = candidate_labels(owner.labels, vectors, chosen)
        rows = np.flatnonzero(usable)
        return Lists(
            self.model.corpus([ad.query for ad in ads], owner.labels.texts),
            rows,
            labels[rows],
            data.weight[rows].astype(np.float32),
        )

    def score(
        self,
        owner: "RetrieveAndRerankClassifier",
        ads: Sequence[Ad],
        vectors: FloatArray,
        leaf: IntArray,
        cosines: FloatArray,
    ) -> tuple[FloatArray, dict[int, tuple[str, str]]]:
        """See the protocol; never declines."""
        assert owner.labels is not None
        labels = candidate_labels(owner.labels, vectors, leaf)
        used, index = np.unique(labels, return_inverse=True)
        corpus = self.model.corpus([ad.query for ad in ads], [owner.labels.texts[i] for i in used])
        rows = np.repeat(np.arange(len(ads)), leaf.shape[1])
        return self.model.score(corpus, rows, index.reshape(-1)).reshape(leaf.shape), {}

    def describe(self) -> dict[str, Any]:
        return {"kind": "cross_encoder", **(asdict(self.fit_result) if self.fit_result is not None else {})}

    def save(self, folder: Path) -> None:
        self.model.save(folder / CROSS_FOLDER)

    @classmethod
    def load(cls, folder: Path, settings: RetrievalSettings) -> "CrossEncoderReranker":
        """Raises FileNotFoundError or ValueError where files are missing or do not fit."""
        from hjc.nn.cross_encoder import CrossEncoder

        self = cls(settings, TrainerSettings())
        self.model = CrossEncoder.load(
            folder / CROSS_FOLDER,
            pooling=settings.pooling,
            max_length=settings.max_length,
            label_length=settings.max_length,
            precision=settings.precision,
        )
        return self
