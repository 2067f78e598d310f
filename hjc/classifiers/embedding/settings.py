"""Typed settings of the embedding family. Plain dataclasses: no torch, no NumPy, no Hydra; Hydra only fills them."""

from dataclasses import dataclass, field, fields, replace
from typing import Any

from hjc.classifiers.linear_settings import LinearSettings
from hjc.errors import check_choice, check_choices, check_range
from hjc.nn.settings import CAPITALS, POOLINGS, NeuralSettings
from hjc.rerank.settings import ChatSettings

#: the frozen multilingual sentence encoder of the extra ``offline`` (512 wide, NumPy only)
USE = "use-multilingual"
CHOICES = {
    "pooling": POOLINGS,
    "precision": ("32", "bf16"),
    "capitals": CAPITALS,
    "label_mode": ("title", "title_desc", "full_text"),
    "label_pooling": ("max", "logsumexp"),
    "index": ("exact", "auto", "usearch", "faiss"),
}


@dataclass(kw_only=True, slots=True)
class EmbeddingSettings:
    """What every embedding classifier has: an encoder, and texts of the labels. Stored in config.json."""

    #: the kind of model
    name: str = "prototype"
    #: how node scores become probabilities: one softmax over the leaves, inner nodes are sums
    hierarchy: str = "bottomup"
    #: what codes a text before the model does: "" nothing | lookup: an index of titles (settings lookup.*)
    before: str = ""

    #: hub name, local folder, "tiny", or "use-multilingual" (frozen, fast, from the extra `offline`)
    encoder: str = "intfloat/multilingual-e5-small"
    #: hub revision (branch, tag or commit); None is the hub's default
    revision: str | None = None
    #: mean | cls | max | last: how the vectors of tokens become that of a text
    pooling: str = "mean"
    #: text put before every text, as the encoder was pre-trained with ("query: " for the E5 family)
    prefix: str = ""
    #: tokens of a text that are read
    max_length: int = 64
    #: lower: words of five capitals and more, and lines of capitals, are read in small letters, as vocabularies know a
    #: word in capitals as loose letters alone | keep: texts are read as they stand
    capitals: str = "lower"
    #: keep only the first n layers (0: all)
    num_layers: int = 0
    #: keep only the pieces that the training texts, the labels and a safety alphabet use. Smaller and faster to train;
    #: labels added later in other words are cut into shorter pieces
    prune_vocabulary: bool = False
    #: arithmetic of encoding: 32 (the same everywhere) or bf16 (faster where the processor has it; cosines move by
    #: about 0.001)
    precision: str = "32"
    #: width of the random encoder when encoder is "tiny"
    tiny_hidden: int = 128
    #: its layers
    tiny_layers: int = 2
    #: pieces of its vocabulary
    tiny_vocabulary: int = 8000

    #: text of a label: title | title_desc (title and the first 200 characters of its description) | full_text (title
    #: and the whole description, without what it says about occupations classified elsewhere)
    label_mode: str = "title"
    #: languages of titles and descriptions ([]: all that the taxonomy has)
    label_languages: list[str] = field(default_factory=list)
    #: further texts of labels: a CSV or Parquet file with columns code, text and optionally kind, language
    #: (texts.csv.gz of `hjc taxonomy import` is one); "": none
    label_file: str = ""
    #: kinds of that file to use ([]: all)
    label_kinds: list[str] = field(default_factory=list)
    #: a label with several texts scores as its best one (max) or as their log-mean-exp (logsumexp)
    label_pooling: str = "max"
    #: search of the nearest label texts: exact | usearch | faiss (extra `ann`) | auto (usearch from 200,000 texts on)
    index: str = "exact"

    def __post_init__(self) -> None:
        check_choices("model", self, CHOICES)
        check_range("model.max_length", self.max_length, self.max_length >= 4, "integers from 4")
        if not self.encoder:
            raise ValueError(f"model.encoder: none is given; set a hub name, a folder, tiny or {USE}")


PROTOTYPE_CHOICES = {
    "name": ("prototype",),
    "hierarchy": ("bottomup",),
    "prototype": ("direct", "average", "finetuned"),
    "loss": ("contrastive", "softmax"),
}


@dataclass(kw_only=True, slots=True)
class PrototypeSettings(EmbeddingSettings):
    """A vector for each category: of its title, the mean of its training texts, or fitted."""

    #: the kind of model
    name: str = "prototype"
    #: direct: the label's own text | average: mean of its training texts | finetuned: fitted, from the mean
    prototype: str = "finetuned"
    #: how many training texts the label's own text counts for in a mean (0: leaves with training texts forget it)
    label_weight: float = 1.0
    #: contrastive: squared cosine distance to the own prototype, and hinge to hard negatives | softmax: -log P(gold)
    loss: str = "softmax"
    #: margin of the contrastive loss (cosine distance, 0 to 2); 1 did better than 0.5 (experiments/embedding_family)
    margin: float = 1.0
    #: hard negatives a row: the nearest wrong prototypes
    negatives: int = 10
    #: keep the encoder as it is and fit the prototypes only
    freeze_encoder: bool = True

    def __post_init__(self) -> None:
        EmbeddingSettings.__post_init__(self)
        check_choices("model", self, PROTOTYPE_CHOICES)
        check_range("model.label_weight", self.label_weight, self.label_weight >= 0, "numbers from 0")
        check_range("model.negatives", self.negatives, self.negatives >= 1, "integers from 1")
        check_range("model.margin", self.margin, 0 < self.margin <= 2, "numbers above 0 to 2")


@dataclass(kw_only=True, slots=True)
class BiEncoderSettings(EmbeddingSettings):
    """Texts and labels through one encoder that is fine-tuned by a ranking loss."""

    #: the kind of model
    name: str = "biencoder"
    #: keep only the pieces that the training texts, the labels and a safety alphabet use
    prune_vocabulary: bool = True
    #: text of a label: title | title_desc | full_text
    label_mode: str = "title_desc"
    #: factor of the cosines in the ranking loss
    ranking_scale: float = 20.0
    #: hard negatives a row, from siblings of the gold code and from "classified elsewhere" passages (0: only the batch)
    hard_negatives: int = 1
    #: texts that are not of a code: NAME.negatives.csv of `hjc data from-taxonomy` (columns text, code, target); "":
    #: the passages are taken from the taxonomy's descriptions
    negatives_file: str = ""

    def __post_init__(self) -> None:
        EmbeddingSettings.__post_init__(self)
        check_choices("model", self, {"name": ("biencoder",), "hierarchy": ("bottomup",)})
        check_range("model.ranking_scale", self.ranking_scale, self.ranking_scale > 0, "numbers above 0")
        check_range("model.hard_negatives", self.hard_negatives, self.hard_negatives >= 0, "integers from 0")


@dataclass(kw_only=True, slots=True)
class JointSettings(EmbeddingSettings):
    """Texts and the categories of every level in one space, with hierarchy triplets and a similarity graph."""

    #: the kind of model
    name: str = "joint"
    #: pathsum (scores add up along the path) | topdown (softmax among siblings)
    hierarchy: str = "pathsum"
    #: keep the encoder as it is and fit the vectors of the categories, and the map, only
    freeze_encoder: bool = True
    #: weights of the terms; 0 switches one off
    classification_weight: float = 1.0
    #: of the triplets that keep a child near its parent
    hierarchy_weight: float = 0.1
    #: of the triplets that keep similar codes near each other
    similarity_weight: float = 0.1
    #: margin of the triplet terms (cosine)
    margin: float = 0.2
    #: triplets of each kind drawn in a step
    triplets: int = 512
    #: a trainable linear map of the texts' vectors before they are compared
    projection: bool = True
    #: file of a category graph (`hjc taxonomy graph`); "": built from the similarity of titles and descriptions
    graph: str = ""

    def __post_init__(self) -> None:
        EmbeddingSettings.__post_init__(self)
        check_choices("model", self, {"name": ("joint",), "hierarchy": ("pathsum", "topdown")})
        weight = self.classification_weight
        check_range("model.classification_weight", weight, weight > 0, "numbers above 0: it is what learns to classify")
        for name in ("hierarchy_weight", "similarity_weight"):
            check_range(f"model.{name}", value := getattr(self, name), value >= 0, "numbers from 0")
        check_range("model.triplets", self.triplets, self.triplets >= 1, "integers from 1")
        check_range("model.margin", self.margin, 0 <= self.margin <= 2, "numbers from 0 to 2")


RETRIEVAL_CHOICES = {
    "name": ("retrieval",),
    "hierarchy": ("bottomup",),
    "reranker": ("rules", "cross_encoder", "chat", "none"),
}


@dataclass(kw_only=True, slots=True)
class RetrievalSettings(EmbeddingSettings):
    """Extract, retrieve the k nearest leaves, vote by ancestor, re-rank where they disagree, or decline."""

    #: the kind of model
    name: str = "retrieval"
    #: text of a label: title | title_desc | full_text
    label_mode: str = "title_desc"
    #: run directory of a bi-encoder or prototype model whose encoder is used ("": the pre-trained one)
    start_from: str = ""
    #: candidates (0: chosen on validation rows among candidate_grid)
    candidates: int = 0
    #: numbers of candidates that are tried on validation rows
    candidate_grid: list[int] = field(default_factory=lambda: [3, 5, 10, 15, 25])
    #: level at which candidates vote (0: the deepest): unanimous there, nothing is re-ranked
    vote_level: int = 0
    #: rules | cross_encoder (fine-tuned on pairs of training text and label) | chat (an endpoint) | none
    reranker: str = "rules"
    #: encoder that the cross-encoder is fine-tuned from ("": model.encoder)
    cross_encoder: str = ""
    #: labels in each list that the cross-encoder learns from: the right one and its nearest wrong ones
    list_size: int = 4
    #: take title, duties and skills out of the ad before encoding
    extraction: bool = True
    #: decline where the most probable code of the vote level has less than this (0: never)
    decline_below: float = 0.0
    #: endpoint of the re-ranker `chat`: address, model, limits, prices (see docs/retrieval.md)
    chat: ChatSettings = field(default_factory=ChatSettings)
    #: built-in prompt or a file
    chat_prompt: str = "rerank"
    #: validation rows that are sent to the endpoint to choose the number of candidates and calibrate its confidence
    chat_choice_rows: int = 50

    def __post_init__(self) -> None:
        EmbeddingSettings.__post_init__(self)
        check_choices("model", self, RETRIEVAL_CHOICES)
        check_range("model.candidates", self.candidates, self.candidates >= 0, "0 (chosen) and integers from 1")
        grid = self.candidate_grid
        check_range("model.candidate_grid", grid, min(grid, default=0) >= 1, "one or more integers from 1")
        check_range("model.decline_below", self.decline_below, 0 <= self.decline_below < 1, "0 (never) to below 1")
        if isinstance(self.chat, dict):  # as a config.json has it
            self.chat = ChatSettings(**self.chat)
        if self.reranker == "chat" and not (self.chat.endpoint and self.chat.model):
            raise ValueError("model.reranker=chat needs model.chat.endpoint and model.chat.model")


HYBRID_CHOICES = {"name": ("hybrid",), "hierarchy": ("bottomup",), "kind": ("auto", "mixture", "loglinear")}


@dataclass(kw_only=True, slots=True)
class WeighingSettings:
    """How several classifiers over one taxonomy are weighed as one."""

    #: mixture of probabilities | loglinear: product of powers | auto: cross-validated log-loss decides
    kind: str = "auto"
    #: weights by the number of training rows of a leaf (0, 1-9, 10-99, 100 and more)
    by_support: bool = True
    #: also try weights that depend on how sure each part is of a row
    by_sureness: bool = True
    #: calibrate the whole as a step of the model where cross-validation gains: a temperature, one a level, or one a
    #: sibling group (hjc.calibration), fitted on the answers that cross-fitted weights give
    calibrate: bool = True
    #: every code counts the same, however many validation rows it has: for texts to be coded whose mix of codes is
    #: more even than that of the validation rows (rare codes gain, log-loss on rows like the validation rows loses)
    balance: bool = False
    #: draws validation rows and folds
    seed: int = 1


@dataclass(kw_only=True, slots=True)
class HybridSettings(WeighingSettings):
    """Several fitted classifiers over one taxonomy as one."""

    #: the kind of model
    name: str = "hybrid"
    #: its probabilities are those of the leaves
    hierarchy: str = "bottomup"
    #: what codes a text before the model does: "" nothing | lookup: an index of titles (settings lookup.*)
    before: str = ""
    #: run directories of the parts
    parts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_choices("model", self, HYBRID_CHOICES)


#: part of ``model=best`` -> its field in BestSettings
BEST_PARTS = ("linear", "neural", "biencoder")
BEST_CHOICES = {"name": ("best",), "hierarchy": ("bottomup",), "kind": ("auto", "mixture", "loglinear")}


@dataclass(kw_only=True, slots=True)
class BestSettings(WeighingSettings):
    """Linear model, encoder and bi-encoder trained on the same rows and weighed as one; what is stored is a hybrid."""

    #: the kind of model
    name: str = "best"
    #: its probabilities are those of the leaves
    hierarchy: str = "bottomup"
    #: what codes a text before the model does: "" nothing | lookup: an index of titles (settings lookup.*)
    before: str = ""
    #: which parts, in the order in which they are trained
    parts: list[str] = field(default_factory=lambda: list(BEST_PARTS))
    #: each part is trained this many times, every time without another share of the rows: these weigh the parts,
    #: beside the validation rows, and the mean of its models is the part. 0: trained once, the validation rows weigh
    folds: int = 0
    #: share of the rows like the validation rows (of their sources) that one fold leaves out
    fold_share: float = 0.1

    #: encoder of all parts that have one (those of the parts' own settings do not count)
    encoder: str = "intfloat/multilingual-e5-small"
    #: hub revision of the encoder; None is the hub's default
    revision: str | None = None
    #: mean | cls | max | last, of both encoders
    pooling: str = "mean"
    #: text put before every text of both encoders
    prefix: str = ""
    #: settings of the parts
    linear: LinearSettings = field(default_factory=lambda: LinearSettings(hierarchy="plt"))
    #: further settings of the encoder with a head
    neural: NeuralSettings = field(default_factory=lambda: NeuralSettings(hierarchy="bottomup"))
    #: further settings of the bi-encoder
    biencoder: BiEncoderSettings = field(default_factory=BiEncoderSettings)
    #: epochs of the bi-encoder (0: those of the trainer); one of its steps reads three texts a row
    biencoder_epochs: int = 0

    def __post_init__(self) -> None:
        check_choices("model", self, BEST_CHOICES)
        for part in self.parts:
            check_choice("model.parts", part, BEST_PARTS)
        twice = len(set(self.parts)) < len(self.parts)
        check_range("model.parts", self.parts, len(self.parts) > 1 and not twice, "two or three different parts")
        check_range("model.folds", self.folds, self.folds != 1 and self.folds >= 0, "0 (none) and integers from 2")
        share = self.fold_share
        check_range("model.fold_share", share, share > 0 and share * max(self.folds, 1) <= 1, "above 0 to 1 / folds")
        check_range("model.biencoder_epochs", self.biencoder_epochs, self.biencoder_epochs >= 0, "integers from 0")

    def of_part(self, part: str) -> Any:
        """The settings of a part, with the encoder of the whole."""
        own = getattr(self, part)
        if part == "linear":
            return own
        shared = {name: getattr(self, name) for name in ("encoder", "revision", "pooling", "prefix")}
        return replace(own, **shared)

    def of_hybrid(self) -> HybridSettings:
        """How the parts are weighed."""
        return HybridSettings(**{each.name: getattr(self, each.name) for each in fields(WeighingSettings)})
