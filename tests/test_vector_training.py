"""Training on cached vectors: repeatable, the best state kept, limits, Ctrl-C, what is logged."""

import csv
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hjc.classifiers.embedding.labels import category_means
from hjc.data.jobdata import JobData
from hjc.nn.fitting import FitResult
from hjc.nn.settings import TrainerSettings
from hjc.nn.spaces import PrototypeSpace
from hjc.nn.vector_training import VectorRows, fit_on_vectors
from tests.toy_space import ToyEncoder, rows, tree

TREE = tree()


def labelled(seed: int = 0) -> VectorRows:
    data = rows(TREE, seed=seed)
    return VectorRows(ToyEncoder().encode(data.texts), data.gold, data.weight)


def start(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(TREE.num_leaves, ToyEncoder.dim)).astype(np.float32)


def fit(
    valid: VectorRows | None = None, run_dir: Path | None = None, **settings: object
) -> tuple[PrototypeSpace, FitResult]:
    chosen = {"epochs": 4, "batch_size": 16, "warmup_steps": 2, "head_learning_rate": 0.02, "loggers": [], **settings}
    space = PrototypeSpace(TREE, start())
    return space, fit_on_vectors(space, TREE, labelled(), valid, TrainerSettings(**chosen), run_dir)  # type: ignore[arg-type]


def same(a: PrototypeSpace, b: PrototypeSpace) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_the_same_seed_gives_the_same_numbers() -> None:
    first, result = fit(seed=3)
    again, _ = fit(seed=3)
    other, _ = fit(seed=4)
    assert same(first, again) and not same(first, other)
    assert result.status == "finished" and result.steps == 4 * 5 and result.epochs == 4
    assert result.best_valid_log_loss is None and result.best_epoch is None


def test_accumulated_batches_are_larger_batches() -> None:
    assert same(fit(batch_size=8, accumulate=2)[0], fit(batch_size=16)[0])


def test_it_learns_and_keeps_the_best_state() -> None:
    valid = labelled(1)
    space, result = fit(valid, epochs=30, head_learning_rate=0.05)
    with torch.no_grad():
        log_proba = space(torch.as_tensor(valid.vectors)).numpy()
    column = np.searchsorted(TREE.leaves, valid.gold, sorter=(order := np.argsort(TREE.leaves)))
    gold = order[column]
    assert (log_proba.argmax(1) == gold).all()
    assert result.best_valid_log_loss == pytest.approx(-log_proba[np.arange(len(gold)), gold].mean(), rel=1e-5)


def test_a_fit_that_only_gets_worse_ends_where_it_began() -> None:
    """Validation rows that say the opposite: the state before the first step is the best one."""
    train, right = labelled(), labelled(1)
    data = JobData(TREE, ("",) * len(train.gold), train.gold, weight=train.weight)
    begin = category_means(data, train.vectors, start(), 0.0)
    space = PrototypeSpace(TREE, begin, scale=2.0)
    wrong = VectorRows(right.vectors, np.roll(right.gold, 24), right.weight)
    settings = TrainerSettings(epochs=50, patience=2, batch_size=16, loggers=[])
    result = fit_on_vectors(space, TREE, train, wrong, settings)
    assert result.status == "early_stopped" and result.best_epoch == 0 and result.epochs == 2
    assert np.array_equal(space.prototypes.detach().numpy(), begin)


def test_limits() -> None:
    assert fit(max_steps=3)[1].steps == 3
    result = fit(max_minutes=1e-9)[1]
    assert result.status == "time_limit" and result.steps == 1


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX systems")
def test_the_first_ctrl_c_keeps_the_best_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGINT)
    loss = PrototypeSpace.loss
    calls = []

    def interrupt(self: PrototypeSpace, *args: object) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 7:
            os.kill(os.getpid(), signal.SIGINT)
        return loss(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(PrototypeSpace, "loss", interrupt)
    _, result = fit(labelled(1))
    assert result.status == "interrupted" and result.steps == 7 and result.best_valid_log_loss is not None
    assert signal.getsignal(signal.SIGINT) is before


def test_learning_curves_are_written(tmp_path: Path) -> None:
    fit(labelled(1), tmp_path, loggers=["csv"])
    with (tmp_path / "logs" / "metrics.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    assert {"step", "train/loss", "valid/log_loss", "valid/level_1/recall@1"} <= set(lines[0])
    validated = [float(line["valid/log_loss"]) for line in lines if line["valid/log_loss"]]
    assert len(validated) == 5 and validated[-1] < validated[0]


def test_rows_without_weight_do_not_count() -> None:
    data = labelled()
    with pytest.raises(ValueError, match="none of positive weight"):
        fit_on_vectors(
            PrototypeSpace(TREE, start()),
            TREE,
            VectorRows(data.vectors, data.gold, np.zeros_like(data.weight)),
            None,
            TrainerSettings(),
        )
