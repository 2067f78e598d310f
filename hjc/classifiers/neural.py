"""The neural classifier: a Hugging Face encoder with a hierarchical head, fine-tuned."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch

from hjc.arrays import Float32, FloatArray, IntArray
from hjc.classifiers.base import Classifier
from hjc.classifiers.fitting import check_data, class_weights, run_of
from hjc.classifiers.keywords import with_trainer
from hjc.classifiers.side import read_side, write_side
from hjc.classifiers.storage import ModelDir, ModelDirError
from hjc.classifiers.two import ENCODER_WEIGHTS, HEAD_WEIGHTS, Companion
from hjc.classifiers.vectors import ENCODER, TextVectors
from hjc.data.jobdata import JobData
from hjc.data.side import SideVocabulary
from hjc.errors import name_some
from hjc.index import normalise
from hjc.nn.beam import TopLeaves, top_leaves
from hjc.nn.devices import autocast, device_of, in_bfloat16
from hjc.nn.heads import TopDownHead
from hjc.nn.mixing import Mixture
from hjc.nn.network import Network, dropout_passes, encode_texts, initialise_head, read_texts
from hjc.nn.priors import conditional_log_prior, offset_of
from hjc.nn.settings import HEADS, NOISE, NeuralSettings, Run, TrainerSettings
from hjc.nn.stored import load_weights, read_encoder, save_encoder, save_weights
from hjc.nn.tokens import Distinct
from hjc.taxonomy import Taxonomy

if TYPE_CHECKING:
    import pandas as pd

    from hjc.nn.fitting import FitResult
    from hjc.nn.training import TextRows

#: training rows that join the titles when the head is started from them
INIT_SAMPLE = 1000
#: from so many leaves on the most probable of a top-down model are looked for by beam search
MANY_LEAVES = 20_000

WEIGHTS = "model.safetensors"


class NeuralClassifier(Classifier):
    """Fine-tunes an encoder with a topdown, bottomup or pathsum head (see :mod:`hjc.nn.heads`).

    Args:
        taxonomy: the tree whose leaves are predicted.
        settings: what the model is; stored with it.
        trainer: how it is fitted; not needed for prediction.
        keywords: single settings of either. A name of ``model=`` as the encoder brings its pooling and prefix.

    >>> from hjc.taxonomy import isco08
    >>> model = NeuralClassifier(isco08(), encoder="e5", hierarchy="bottomup", epochs=1)
    >>> model
    NeuralClassifier(intfloat/multilingual-e5-small, bottomup, isco08: 436 codes, 4 levels, not fitted)
    >>> model.settings.prefix, model.trainer.epochs
    ('query: ', 1)
    """

    name: ClassVar[str] = "neural"
    takes_trainer: ClassVar[bool] = True
    vector_space = ENCODER
    has_dropout = has_gradients = has_network = True

    def __init__(
        self,
        taxonomy: Taxonomy,
        settings: NeuralSettings | None = None,
        trainer: TrainerSettings | None = None,
        **keywords: Any,
    ) -> None:
        super().__init__(taxonomy)
        self.settings, self.trainer = with_trainer(type(self), NeuralSettings, settings, trainer, keywords)
        self.network: Network | None = None
        #: another tree that is trained along, and whether the encoder's weights lie in a file of their own
        self.companion: Companion | None = None
        self.encoder_apart = False
        self.tokenizer: Any = None
        self.device, self.bfloat16 = device_of("auto"), False

    @property
    def is_fitted(self) -> bool:
        return self.network is not None

    @property
    def parameters(self) -> Mapping[str, Any]:
        return asdict(self.settings)

    # ------------------------------------------------------------------ fitting

    def fit_data(self, train: JobData, valid: JobData | None = None, *, run_dir: Path | None = None) -> Self:
        """Fine-tune on labelled rows; keep the best weights by validation log-loss at the deepest level.

        Gold codes may be inner nodes. ``run_dir`` receives ``checkpoints/`` (to resume) and ``logs/``; without it they
        go to a temporary folder. Without ``valid`` the last weights are kept.

        Raises:
            ValueError: no rows, unlabelled rows, or another taxonomy than the classifier's.
        """
        # transformers and Lightning: prediction does without
        from hjc.nn.encoder import load_encoder
        from hjc.nn.fitting import seed_everything
        from hjc.nn.lora import merge_lora
        from hjc.nn.training import fit_network

        valid = check_data(train, valid, self.taxonomy)
        s, t = self.settings, self.trainer
        shares = {s.source: s.share for s in t.source_share}
        mixture = Mixture.of(train.source, shares, t.seed) if shares else None
        seed_everything(t.seed)
        read, trees = [train, valid], [self.taxonomy]
        if self.companion is not None:
            self._check_companion(self.companion, valid)
            read += [self.companion.train, self.companion.valid]
            trees.append(self.companion.classifier.taxonomy)
        corpus = [text for rows in read if rows is not None for text in rows.texts]
        titles = [x for tree in trees for values in tree.titles.values() for x in values if x]
        encoder, self.tokenizer = load_encoder(s, corpus, titles, seed=t.seed)
        seed_everything(t.seed)  # however many random numbers the encoder took, the head starts the same
        self.side = SideVocabulary.of_recipe(self.recipe, train.texts, hashing=s.side_hashing)
        network = Network(encoder, self.taxonomy, s, self.side)
        weight = self.start_head(network, train)
        rows = (train.texts, train.target, weight)
        held = None if valid is None else (valid.texts, valid.target, valid.weight)
        run = run_of(s, t, train, valid, run_dir, self.callback)
        if self.companion is None:
            self.fit_result = fit_network(network, self.tokenizer, self.taxonomy, s, rows, held, run, mixture)
        else:
            self.fit_result = self._fit_two(self.companion, network, rows, held, run)
        if (plan := self.fit_result.plan) and s.windows == 1 and plan["max_length"] < s.max_length:
            self.settings = replace(s, max_length=plan["max_length"])  # what it was trained with it predicts with
        if s.lora_rank:
            network.encoder = merge_lora(network.encoder)
        network.eval()
        self.network = network.to(self.device)
        return self

    def start_head(self, network: Network, train: JobData) -> Float32:
        """The head from the titles of the codes, with the offset of the prior; the weights (n,) of the rows."""
        s, t = self.settings, self.trainer
        if s.head_init == "titles":
            from hjc.nn.fitting import resolve_precision

            half = resolve_precision(t.precision).startswith("bf16")
            sample = np.random.default_rng(t.seed).permutation(len(train))[:INIT_SAMPLE]
            texts = [train.texts[i] for i in sample]
            gold = train.gold[sample].tolist()
            initialise_head(network, self.tokenizer, self.taxonomy, s, texts, gold, t.seed, bfloat16=half)
        weight = train.weight * class_weights(train, t.class_weights)
        if s.logit_adjustment:  # after the start from titles, which are no sample of the population
            prior = conditional_log_prior(self.taxonomy, train.gold, weight)
            network.head.offset = offset_of(network.head, self.taxonomy, prior, s.logit_adjustment)
        return np.asarray(weight, dtype=np.float32)

    def _check_companion(self, companion: Companion, valid: JobData | None) -> None:
        """Raises ValueError where a training of two trees cannot do what the settings ask for."""
        t, noise = self.trainer, ("r_drop", *NOISE)
        given = [f"trainer.{name}" for name in noise if getattr(t, name)]
        given += ["trainer.auto"] * t.auto + ["trainer.average"] * (t.average != "none")
        given += ["trainer.source_share"] * bool(t.source_share) + ["model.lora_rank"] * bool(self.settings.lora_rank)
        if given:
            raise ValueError(f"second: two trees at once are trained without {name_some(given)}; leave that out")
        if (valid is None) != (companion.valid is None):
            raise ValueError("second: give validation rows of both trees, or of none")
        check_data(companion.train, companion.valid, companion.classifier.taxonomy)

    def _fit_two(
        self, companion: Companion, network: Network, rows: "TextRows", held: "TextRows | None", run: Run
    ) -> "FitResult":
        from hjc.nn.two_heads import fit_two_heads, share_features

        other, train, valid = companion.classifier, companion.train, companion.valid
        other.tokenizer, other.side = self.tokenizer, self.side
        second = Network(network.encoder, other.taxonomy, self.settings, self.side)
        share_features(network, second)
        weight = other.start_head(second, train)
        both = None
        if held is not None and valid is not None:
            both = held, (valid.texts, valid.target, valid.weight)
        digest = "".join((run.fingerprint, other.taxonomy.hash, train.hash, valid.hash if valid else ""))
        run = replace(run, fingerprint=hashlib.sha256(f"{digest}{companion.share}".encode()).hexdigest())
        trees = (self.taxonomy, other.taxonomy)
        result = fit_two_heads(
            network, second, self.tokenizer, self.settings, trees, (rows, (train.texts, train.target, weight)), both,
            companion.share, run,
        )  # fmt: skip
        second.eval()
        other.network, other.fit_result = second.to(other.device), result
        self.encoder_apart = other.encoder_apart = True
        return result

    # ------------------------------------------------------------------ prediction

    def _fitted(self) -> Network:
        self.check_fitted()
        assert self.network is not None
        return self.network

    def to(self, device: str | torch.device) -> Self:
        """Move the model. Without this it predicts on the first GPU where there is one, else on the CPU.

        Raises:
            ValueError: there is no such device here.
        """
        self.device = device_of(str(device))
        if self.network is not None:
            self.network.to(self.device)
        return self

    def compute_on(self, device: str = "auto", precision: str | None = None) -> Self:
        super().compute_on(device, precision)
        self.bfloat16 = self.bfloat16 if precision is None else in_bfloat16(precision)
        return self.to(device)

    def iter_log_proba(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray]]:
        """See the base class. Equal texts are scored once, in the order of their token length within windows."""
        network, s, distinct = self._fitted(), self.settings, Distinct(texts)
        for which, batch in read_texts(self.tokenizer, distinct.texts, s, self.device, self.side):
            with torch.inference_mode(), autocast(self.device, self.bfloat16):
                log_proba = network(**batch)
            yield from distinct.spread(which, log_proba.float().cpu().numpy())

    def top_leaves(self, texts: Sequence[str], top_k: int = 5, width: int | None = None) -> TopLeaves:
        """The ``top_k`` most probable leaves of n texts by beam search, without scores of all leaves of the tree.

        Args:
            width: see :func:`hjc.nn.beam.top_leaves`; None: all rows are exact.

        Raises:
            ValueError: the head is not ``topdown``, or a number is out of range.
        """
        network, s, distinct = self._fitted(), self.settings, Distinct(texts)
        if not isinstance(network.head, TopDownHead):
            raise self.cannot("search from the top down", "neural models with hierarchy=topdown")
        n, k = len(texts), min(top_k, self.taxonomy.num_leaves)
        out = TopLeaves(np.zeros((n, k), np.int64), np.zeros((n, k), np.float32), np.zeros(n, bool))
        for which, batch in read_texts(self.tokenizer, distinct.texts, s, self.device, self.side):
            with torch.inference_mode(), autocast(self.device, self.bfloat16):
                found = top_leaves(network.head, self.taxonomy, network.features(**batch), top_k, width)
            for rows, place in distinct.spread(which, np.arange(len(which))):
                out.nodes[rows], out.log_proba[rows] = found.nodes[place], found.log_proba[place]
                out.exact[rows] = found.exact[place]
        return out

    def predict(self, rows: Any, level: int | None = None, top_k: int = 1) -> "pd.DataFrame":
        """See the base class. Of a top-down model with many leaves not all are scored: :meth:`top_leaves`, exactly."""
        tree, leaves = self.taxonomy, level is None or level == self.taxonomy.depth
        if not (leaves and top_k >= 1 and tree.num_leaves >= MANY_LEAVES and self.settings.hierarchy == "topdown"):
            return super().predict(rows, level, top_k)
        from hjc.classifiers.ranking import ranked_nodes

        self.check_fitted()
        found = self.top_leaves(self.recipe.texts(rows), top_k)
        return ranked_nodes(tree, found.nodes, np.exp(found.log_proba.astype(np.float64)))

    def vectors(self, texts: Sequence[str]) -> FloatArray:
        """(n, H) float32: the pooled vectors that the head sees, for comparing texts."""
        network, s = self._fitted(), self.settings
        return encode_texts(network, self.tokenizer, texts, s, bfloat16=self.bfloat16).numpy()

    def text_vectors(self, texts: Sequence[str]) -> TextVectors:
        return TextVectors(ENCODER, normalise(self.vectors(texts)))

    def iter_dropout_log_proba(
        self, texts: Sequence[str], passes: int = 10, seed: int = 0
    ) -> Iterator[tuple[IntArray, FloatArray]]:
        """See the base class (Gal & Ghahramani 2016).

        Raises:
            ValueError: the model has no dropout, so that all passes would be equal.
        """
        network, s = self._fitted(), self.settings
        for rows, batch in read_texts(self.tokenizer, texts, s, self.device, self.side):
            found = dropout_passes(network, batch, passes, seed + int(rows[0]))
            yield rows, found.float().cpu().numpy()

    # ------------------------------------------------------------------ persistence

    def write_files(self, folder: Path) -> None:
        """Weights (safetensors), encoder configuration, tokenizer."""
        network = self._fitted()
        if self.encoder_apart:
            save_weights(network.encoder, folder / ENCODER_WEIGHTS)
            save_weights(network, folder / HEAD_WEIGHTS, without="encoder")
        else:
            save_weights(network, folder / WEIGHTS)
        save_encoder(network.encoder, self.tokenizer, folder)
        write_side(self.side, folder)

    @classmethod
    def read_files(cls, model: ModelDir) -> Self:
        """No network, no base encoder."""
        if (head := str(model.parameters.get("hierarchy"))) not in HEADS:
            raise ModelDirError(f"{model.path}: this model needs the head {head!r}; {HEADS.absent(head)}")
        self = cls(model.taxonomy, model.settings(NeuralSettings, capitals="keep"))
        encoder, self.tokenizer = read_encoder(model.path, self.settings.max_length)
        self.side = read_side(model)
        network = Network(encoder, model.taxonomy, self.settings, self.side)
        self.encoder_apart = HEAD_WEIGHTS in model.config["files"]
        if self.encoder_apart:
            load_weights(network, model.file(HEAD_WEIGHTS), encoder=model.file(ENCODER_WEIGHTS))
        else:
            load_weights(network, model.file(WEIGHTS))
        network.eval()
        self.network = network.to(self.device)
        return self
