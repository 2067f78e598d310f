"""A fitted model of titles is made to know how employers write of work: contrast between title and body of one ad.

The vector of a title is drawn to that of a body that stands below it, and away from the bodies of the other titles of
the batch (:mod:`hjc.nn.ranking`). No ad needs a code. Only the encoder is trained, with what it has learnt of titles as
the start, so names near a title in its space (:mod:`hjc.classifiers.near_names`) are near in what the work is; the head
stays as it was. n different titles, M bodies.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from hjc.arrays import IntArray
from hjc.classifiers.base import Classifier
from hjc.classifiers.embedding.adapt import NOTE, SCALE, fit_watched, precision_of
from hjc.classifiers.fitting import run_of
from hjc.classifiers.neural import NeuralClassifier
from hjc.classifiers.part_pieces import title_text
from hjc.classifiers.treemath import log_softmax
from hjc.data.jobdata import JobData
from hjc.files import new_folder, write_json
from hjc.nn.fitting import FitResult
from hjc.nn.pairs import PairBatches
from hjc.nn.settings import TrainerSettings
from hjc.nn.text_encoder import TorchTextEncoder
from hjc.rerank.ads import AD, read_ad
from hjc.taxonomy import Taxonomy, from_edges

#: tokens of a body that are read, and titles that must have one
BODY_TOKENS, LEAST = 64, 20
#: share of the titles that are held out, at least and at most so many
HELD_OUT, LEAST_HELD, MOST_HELD = 0.05, 5, 200


@dataclass(frozen=True)
class AdaptedToAds:
    """``before``, ``after``: log_loss (nats) and recall@1 of held-out titles whose own body is looked for among the
    bodies of all of them."""

    folder: Path
    fit: FitResult
    ads: int
    titles: int
    held_out: int
    before: dict[str, float]
    after: dict[str, float]


@dataclass(frozen=True)
class TitlesWithBodies:
    """``titles`` (n,), all different; ``bodies`` (M,), and ``title``: the number of the title of each, ascending."""

    titles: tuple[str, ...]
    bodies: tuple[str, ...]
    title: IntArray

    @classmethod
    def of(cls, texts: Sequence[str]) -> "TitlesWithBodies":
        """Of the texts of ads those that have both, as :func:`hjc.rerank.ads.read_ad` reads them.

        Raises:
            ValueError: fewer than :data:`LEAST` titles.
        """
        found: dict[str, dict[str, None]] = {}
        for ad in map(read_ad, texts):
            if ad.kind == AD and not ad.note:
                found.setdefault(title_text(ad.title), {})[ad.body] = None
        if len(found) < LEAST:
            raise ValueError(
                f"of {len(texts):,} ads {len(found):,} different titles stand above a body; at least {LEAST} are "
                "needed, some thousand are better: give columns of title and body"
            )
        bodies = [list(of) for of in found.values()]
        number = np.repeat(np.arange(len(bodies)), list(map(len, bodies)))
        return cls(tuple(found), tuple(body for of in bodies for body in of), number)

    def take(self, titles: IntArray) -> "TitlesWithBodies":
        """Those of some titles, ascending."""
        kept = np.isin(self.title, titles)
        number = np.searchsorted(titles, self.title[kept])
        bodies = tuple(self.bodies[i] for i in np.flatnonzero(kept).tolist())
        return TitlesWithBodies(tuple(self.titles[i] for i in titles.tolist()), bodies, number)

    @property
    def tree(self) -> Taxonomy:
        """A code for each title, all on one level: who is no other's negative."""
        return from_edges([str(i) for i in range(len(self.titles))], [""] * len(self.titles), name="titles of ads")


def adapt_to_ads(
    model: Classifier,
    texts: Sequence[str],
    trainer: TrainerSettings,
    folder: Path,
    source: str = "",
    tell: Callable[[str], None] | None = None,
) -> AdaptedToAds:
    """Train the encoder of a model on ads without codes and write the model to ``folder``, whole or not at all.

    Args:
        model: a neural model of titles; it is changed.
        texts: of ads, the title on the first line.
        trainer: how it is trained; the schedule is laid out over ``max_minutes``. A killed training goes on from
            ``FOLDER.training``.
        source: where the model is from, for the note in the folder.
        tell: is told the plan for the minutes, in a sentence.

    Raises:
        FileExistsError: there is something at ``folder``.
        ValueError: a model of another kind, or that reads more than titles; hardly any title stands above a body.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists; give another name, or remove it")
    if not isinstance(model, NeuralClassifier) or model.side is not None or len(model.recipe.columns) > 1:
        raise ValueError(
            f"a {model.name} model that reads {', '.join(model.recipe.columns) or 'titles'} cannot be adapted to ads; "
            "give a neural model that was trained on titles alone (hjc train model=e5)"
        )
    model.check_fitted()
    assert model.network is not None
    every, settings = TitlesWithBodies.of(texts), model.settings
    n = len(every.titles)
    count = min(MOST_HELD, max(LEAST_HELD, round(HELD_OUT * n)))
    held = np.sort(np.random.default_rng(trainer.seed).permutation(n)[:count])
    asked, own = every.take(held), every.take(np.setdiff1d(np.arange(n), held))
    encoder = TorchTextEncoder(
        model.network.encoder.requires_grad_(True), model.tokenizer, pooling=settings.pooling, prefix=settings.prefix,
        max_length=max(BODY_TOKENS, settings.max_length), capitals=settings.capitals,
        precision=precision_of(trainer),
    )  # fmt: skip
    batches = PairBatches(own.tree, own.tree.leaves, own.title, batch_size=trainer.batch_size, seed=trainer.seed)
    scratch = folder.with_name(folder.name + ".training")
    rows, valid = (JobData(part.tree, part.titles, part.tree.leaves) for part in (own, asked))
    run = run_of(settings, trainer, rows, valid, scratch)
    fitted = fit_watched(encoder, own.titles, own.bodies, batches, run, lambda: _found(encoder, asked), tell)
    found = AdaptedToAds(folder, fitted[0], len(every.bodies), n, len(held), *fitted[1:])
    note = {"model": source, **asdict(found), "folder": folder.name, "fit": asdict(found.fit)}
    with new_folder(folder, scratch) as part:
        model.save_pretrained(part)
        write_json(part / NOTE, note)
    return found


def _found(encoder: TorchTextEncoder, asked: TitlesWithBodies) -> dict[str, float]:
    """Log-loss and recall@1 of titles, the first body of each among those of all."""
    first = np.searchsorted(asked.title, np.arange(len(asked.titles)))
    titles = encoder.encode(asked.titles, progress=False)
    scores = log_softmax(
        np.float32(SCALE) * titles @ encoder.encode([asked.bodies[i] for i in first], progress=False).T
    )
    own = np.arange(len(scores))
    return {"log_loss": -float(scores[own, own].mean()), "recall@1": float((scores.argmax(axis=1) == own).mean())}
