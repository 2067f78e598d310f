"""An encoder is made to know a code list before any job text is there: contrastive training on the titles of its codes.

Two titles of one code, in whatever languages, are drawn together; titles of the other codes of the batch and of
siblings are pushed apart (the loss of :mod:`hjc.nn.ranking`). What comes out is a plain Hugging Face folder with the
whole vocabulary: only the pieces that the titles use are trained, and put back into the table afterwards, because most
weights of a small multilingual encoder are its table and most of them no title would touch.

M titles, L leaves, H width.
"""

import json
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hjc.arrays import IntArray
from hjc.classifiers.embedding.base import fit_scale
from hjc.classifiers.embedding.biencoder import MAX_TEXTS, some_texts
from hjc.classifiers.embedding.labels import LabelIndex, LabelTexts
from hjc.classifiers.fitting import run_of
from hjc.classifiers.treemath import gold_log_proba, log_softmax
from hjc.data.jobdata import JobData
from hjc.errors import name_some
from hjc.files import new_folder, write_json
from hjc.nn.devices import computes_in_bfloat16
from hjc.nn.encoder import TINY, load_encoder
from hjc.nn.fitting import FitResult
from hjc.nn.pairs import PairBatches
from hjc.nn.ranking import fit_encoder
from hjc.nn.settings import NeuralSettings, Pace, Run, TrainerSettings
from hjc.nn.stored import save_tokenizer
from hjc.nn.text_encoder import TorchTextEncoder
from hjc.nn.whole_vocabulary import graft
from hjc.taxonomy import Taxonomy, from_edges

logger = logging.getLogger(__name__)

#: says in a folder what it was made of
NOTE = "adapted.json"
#: titles that are held out to choose the best state by: this share, of codes with at least so many titles
HELD_OUT, LEAST_TITLES, MOST_HELD = 0.02, 4, 1_000
#: factor of the cosines in the loss
SCALE = 20.0


@dataclass(frozen=True)
class Adapted:
    """``before``, ``after``: log_loss (nats, all leaves) and recall@1 of held-out titles, found among the others."""

    folder: Path
    fit: FitResult
    titles: int
    codes: int
    held_out: int
    before: dict[str, float]
    after: dict[str, float]


def titles_of(taxonomy: Taxonomy, further: Iterable[tuple[str, str]] = (), languages: Sequence[str] = ()) -> LabelTexts:
    """The titles of all leaves in all languages (or these), and further (code, text); texts of other codes are counted.

    Raises:
        ValueError: fewer than two codes have a title.
    """
    pairs: dict[tuple[str, int], None] = {}
    for language, titles in taxonomy.titles.items():
        if not languages or language in languages:
            for leaf, node in enumerate(taxonomy.leaves.tolist()):
                if text := " ".join(titles[node].split()):
                    pairs[text, leaf] = None
    column = {code: leaf for leaf, code in enumerate(taxonomy.leaf_codes)}
    strange: dict[str, None] = {}
    for code, text in further:
        if code not in column:
            strange[code] = None
        elif text := " ".join(text.split()):
            pairs[text, column[code]] = None
    if strange:
        logger.warning(
            "texts of %d codes that are no leaves of the tree are left out (%s)", len(strange), name_some(list(strange))
        )
    found = LabelTexts.of_pairs(pairs)
    if len(np.unique(found.leaf)) < 2:
        raise ValueError(
            f"{taxonomy.name!r} has titles of {len(np.unique(found.leaf))} codes; two or more are needed: give a code "
            "list with columns title_en, title_pl ..., or a table of texts of codes"
        )
    return found


def adapt_encoder(
    taxonomy: Taxonomy,
    titles: LabelTexts,
    settings: NeuralSettings,
    trainer: TrainerSettings,
    folder: Path,
    *,
    hard_negatives: int = 1,
    tell: Callable[[str], None] | None = None,
) -> Adapted:
    """Train on pairs of titles and write ``folder``, whole or not at all: then ``model.encoder=folder``.

    Args:
        settings: encoder, revision, pooling, prefix and max_length count.
        trainer: how it is trained; the schedule is laid out over ``max_minutes``. A killed training goes on from
            ``FOLDER.training``.
        tell: is told the plan for the minutes, in a sentence.

    Raises:
        FileExistsError: there is something at ``folder``.
        ValueError: the encoder is random (tiny), or a setting is not served.
        EncoderNotFoundError: the encoder is nowhere to be had.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists; give another name, or remove it")
    if settings.encoder == TINY:
        raise ValueError("the encoder tiny has learnt nothing that could be adapted; give a pre-trained one")
    texts, leaf = titles.texts, titles.leaf
    # codes without a title cannot be drawn: the batches are made on the leaves that have one
    tree, leaf = _with_titles(taxonomy, leaf)
    held = _held_out(leaf, trainer.seed)
    kept = np.setdiff1d(np.arange(len(texts)), held)
    labels = LabelTexts(tuple(texts[i] for i in kept.tolist()), leaf[kept])
    asked = JobData(tree, tuple(texts[i] for i in held.tolist()), tree.leaves[leaf[held]])
    model, tokenizer = load_encoder(_pruned(settings), texts, seed=trainer.seed)
    encoder = TorchTextEncoder(
        model, tokenizer, pooling=settings.pooling, prefix=settings.prefix, max_length=settings.max_length,
        capitals=settings.capitals, precision=precision_of(trainer),
    )  # fmt: skip
    gold = tree.leaves[labels.leaf]
    batches = PairBatches(
        tree, gold, labels.leaf, batch_size=trainer.batch_size, hard_negatives=hard_negatives, seed=trainer.seed
    )
    scratch = folder.with_name(folder.name + ".training")
    run = run_of(settings, trainer, JobData(tree, labels.texts, gold), asked if len(asked) else None, scratch)
    looked = some_texts(labels, MAX_TEXTS, np.random.default_rng(trainer.seed))
    texts = labels.texts
    fitted = fit_watched(encoder, texts, texts, batches, run, lambda: _retrieval(tree, encoder, looked, asked), tell)
    found = Adapted(folder, fitted[0], len(texts), int(tree.num_leaves), len(asked), *fitted[1:])
    with new_folder(folder, scratch) as part:
        _write(encoder, settings, part, found, taxonomy)
    return found


def precision_of(trainer: TrainerSettings) -> str:
    """How an encoder computes that is looked at between steps: as it is trained."""
    return "bf16" if trainer.precision in ("auto", "bf16-mixed") and computes_in_bfloat16() else "32"


def fit_watched(
    encoder: TorchTextEncoder,
    rows: Sequence[str],
    texts: Sequence[str],
    batches: PairBatches,
    run: Run,
    look: Callable[[], dict[str, float]],
    tell: Callable[[str], None] | None = None,
) -> tuple[FitResult, dict[str, float], dict[str, float]]:
    """:func:`hjc.nn.ranking.fit_encoder`, and what ``look`` finds before and after it: log_loss, by which the best
    state is kept, and more; {} where nothing is held out. The schedule is laid out over ``max_minutes``.

    Raises:
        KeyboardInterrupt: it was stopped by Ctrl-C.
    """
    began = time.monotonic()
    before = look()
    run, known = replace(run, pace=Pace(time.monotonic() - began, tell)), [before]

    def score() -> float:
        return (known.pop() if known else look())["log_loss"]  # the first it asks for is known

    result = fit_encoder(encoder, rows, texts, batches, run, scale=SCALE, score=score if before else None)
    if result.status == "interrupted":
        raise KeyboardInterrupt
    return result, before, look()


def _pruned(settings: NeuralSettings, prune: bool = True) -> NeuralSettings:
    names = ("encoder", "revision", "pooling", "prefix", "max_length", "capitals")
    return NeuralSettings(**{name: getattr(settings, name) for name in names}, prune_vocabulary=prune)


def _with_titles(taxonomy: Taxonomy, leaf: IntArray) -> tuple[Taxonomy, IntArray]:
    """The tree of the leaves that have a title, and the leaf of each title in it."""
    have = np.unique(leaf)
    if len(have) == taxonomy.num_leaves:
        return taxonomy, leaf
    path = taxonomy.node_path[taxonomy.leaves[have]]
    nodes = np.unique(path[path >= 0]).tolist()
    parents = [taxonomy.codes[taxonomy.parents[n]] if taxonomy.parents[n] >= 0 else None for n in nodes]
    tree = from_edges([taxonomy.codes[n] for n in nodes], parents, name=taxonomy.name)
    column = {code: i for i, code in enumerate(tree.leaf_codes)}
    return tree, np.array([column[taxonomy.leaf_codes[i]] for i in leaf.tolist()], dtype=np.int64)


def _held_out(leaf: IntArray, seed: int) -> IntArray:
    """Titles of codes that keep three others at least; one a code at most."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(leaf))
    _, first = np.unique(leaf[order], return_index=True)
    one = order[first]
    one = one[np.bincount(leaf)[leaf[one]] >= LEAST_TITLES]
    most = min(MOST_HELD, round(HELD_OUT * len(leaf)))
    return np.sort(random.permutation(one)[:most])


def _retrieval(tree: Taxonomy, encoder: TorchTextEncoder, labels: LabelTexts, asked: JobData) -> dict[str, float]:
    """Log-loss at the best scale (nats) and recall@1 of titles whose code is looked for among the other titles."""
    if not len(asked):
        return {}
    index = LabelIndex(encoder.encode(labels.texts, progress=False), labels.leaf, labels.texts)
    cosines = index.scores(encoder.encode(asked.texts, progress=False))
    scale = fit_scale(tree, cosines, asked.gold, asked.weight)
    log_proba = log_softmax(np.float32(scale) * cosines)
    right = tree.leaves[cosines.argmax(axis=1)] == asked.gold
    loss = -float(gold_log_proba(log_proba, tree.leaf_slice[asked.gold]).mean())
    return {"log_loss": loss, "recall@1": float(right.mean())}


def _write(
    encoder: TorchTextEncoder, settings: NeuralSettings, folder: Path, found: Adapted, taxonomy: Taxonomy
) -> None:
    """A Hugging Face folder: the trained weights, in a table of the whole vocabulary, and the tokenizer as it was."""
    note: dict[str, Any] = {
        "encoder": settings.encoder, "pooling": settings.pooling, "prefix": settings.prefix,
        "max_length": settings.max_length, "taxonomy": taxonomy.name, "taxonomy_hash": taxonomy.hash,
        "titles": found.titles, "codes": found.codes, "held_out": found.held_out, "before": found.before,
        "after": found.after, "training": asdict(found.fit),
    }  # fmt: skip
    whole, tokenizer = load_encoder(_pruned(settings, prune=False))
    graft(whole, tokenizer.get_vocab(), encoder.model, encoder.tokenizer.get_vocab())
    whole.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    write_json(folder / NOTE, json.loads(json.dumps(note)))
