"""The training loop: batches, schedule, parameter groups, resume, Ctrl-C, averaging, several processes."""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from hjc.classifiers.fitting import class_weights
from hjc.classifiers.neural import NeuralClassifier
from hjc.nn.batching import EpochBatches, collate, share, token_batches, training_batches
from hjc.nn.fitting import learning_rate_factor
from hjc.nn.groups import parameter_groups
from hjc.nn.loggers import log, open_loggers
from hjc.nn.memory import keep_memory
from hjc.nn.module import TrainingModule, WholeFiles
from hjc.nn.tokens import TokenCorpus, inference_batches
from hjc.training.config import ConfigError
from hjc.training.record import user_errors

from .test_neural import settings, toy_data, toy_tree, trainer

QUICK = hypothesis_settings(max_examples=50, deadline=None)
LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=300).map(np.array)


@QUICK
@given(lengths=LENGTHS, size=st.integers(1, 40), epoch=st.integers(0, 3), bucket=st.booleans())
def test_an_epoch_has_every_row_once(lengths, size, epoch, bucket):
    batches = training_batches(lengths, size, seed=1, epoch=epoch, bucket=bucket)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert max(map(len, batches)) <= size
    again = training_batches(lengths, size, seed=1, epoch=epoch, bucket=bucket)
    assert all((a == b).all() for a, b in zip(batches, again, strict=True))


@QUICK
@given(lengths=LENGTHS, size=st.integers(1, 40), world=st.integers(1, 4))
def test_the_processes_share_every_batch_of_the_single_process(lengths, size, world):
    batches = partial(training_batches, lengths, size, 3)
    single = list(EpochBatches(batches))
    shares = [list(EpochBatches(batches, rank, world)) for rank in range(world)]
    for step, batch in enumerate(single):
        rows = [row for rank in range(world) for row in shares[rank][step] if row >= 0]
        assert sorted(rows) == sorted(batch)


@QUICK
@given(lengths=LENGTHS, tokens=st.integers(1, 400), rows=st.integers(1, 64))
def test_inference_batches_hold_every_row_within_the_bounds(lengths, tokens, rows):
    batches = list(inference_batches(lengths, tokens, rows))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) <= rows
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= tokens


def test_bucketing_pads_less():
    lengths = np.random.default_rng(0).geometric(0.05, size=2000)

    def padded(bucket):
        return sum(len(b) * lengths[b].max() for b in training_batches(lengths, 32, 1, 0, bucket))

    assert padded(True) < 0.5 * padded(False)


def test_collate_pads_right_and_masks():
    corpus = TokenCorpus(np.array([5, 6, 7, 8, 9], np.int32), np.array([0, 2, 5]))
    batch = collate(corpus, np.array([1, 0]), pad_id=1)
    assert batch["input_ids"].tolist() == [[7, 8, 9], [5, 6, 1]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert share(np.array([4]), rank=1, world_size=2) == [-5]


def test_the_schedule_warms_up_and_ends_at_zero():
    linear = [learning_rate_factor(s, 100, 10, "linear") for s in range(101)]
    assert linear[0] == pytest.approx(1 / 11) and max(linear) == 1.0 and linear[10] == 1.0
    assert linear[55] == pytest.approx(0.5) and linear[100] == 0
    cosine = [learning_rate_factor(s, 100, 10, "cosine") for s in range(101)]
    assert cosine[55] == pytest.approx(0.5) and cosine[100] == pytest.approx(0, abs=1e-12)
    assert learning_rate_factor(99, 100, 10, "constant") == 1.0


@pytest.fixture(scope="module")
def fitted():
    tree = toy_tree()
    return NeuralClassifier(tree, settings(), trainer(epochs=1)).fit(toy_data(tree, 4))


def test_biases_and_norms_do_not_decay_and_the_head_has_its_own_rate(fitted):
    rates = trainer(learning_rate=1.0, head_learning_rate=2.0, weight_decay=0.3)
    groups = parameter_groups(fitted.network, fitted.network.encoder, rates)
    names = {id(p): n for n, p in fitted.network.named_parameters()}
    seen = {}
    for group in groups:
        for p in group["params"]:
            seen[names[id(p)]] = (group["lr"], group["weight_decay"])
    assert set(seen) == set(names.values())
    for name, (rate, decay) in seen.items():
        assert rate == (1.0 if name.startswith("encoder.") else 2.0)
        assert decay == (0.0 if name.endswith("bias") or "norm" in name.lower() else 0.3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stop_at", "minutes"),
    [(3, 1e-9), (9, 10), (20, 10), (13, 1e-9)],
    ids=["before a validation", "in the first epoch", "in a later epoch", "in a later epoch, by time"],
)
def test_a_killed_run_resumes_to_the_numbers_of_an_unbroken_one(tmp_path, monkeypatch, stop_at, minutes):
    """With dropout on, validating twice an epoch: checkpoints lie in the middle of epochs too, and come by time."""
    tree = toy_tree()
    train, valid = toy_data(tree, 20), toy_data(tree, 4, seed=1)
    options = {"epochs": 3, "validate_per_epoch": 2, "patience": 0, "checkpoint_minutes": minutes}
    model = settings(dropout=0.2)
    whole = NeuralClassifier(tree, model, trainer(**options)).fit(train, valid, run_dir=tmp_path / "whole")

    step = TrainingModule.training_step

    def killed(self, batch, index):
        if self.global_step >= stop_at:
            raise SystemError("killed")
        return step(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingModule, "training_step", killed)
        with pytest.raises(SystemError, match="killed"):
            NeuralClassifier(tree, model, trainer(**options)).fit(train, valid, run_dir=tmp_path / "broken")
    resumed = NeuralClassifier(tree, model, trainer(**options)).fit(train, valid, run_dir=tmp_path / "broken")
    assert resumed.fit_result.resumed and not whole.fit_result.resumed
    assert resumed.fit_result.steps == whole.fit_result.steps == 27
    assert resumed.fit_result.best_valid_log_loss == pytest.approx(whole.fit_result.best_valid_log_loss, abs=1e-6)
    np.testing.assert_allclose(resumed.predict_log_proba(valid.texts), whole.predict_log_proba(valid.texts), atol=1e-5)


@pytest.mark.slow
def test_a_training_that_diverges_keeps_the_last_good_weights(tmp_path, monkeypatch):
    tree = toy_tree()
    train, valid = toy_data(tree, 20), toy_data(tree, 4, seed=1)
    step = TrainingModule.training_step
    good = NeuralClassifier(tree, settings(), trainer(epochs=1)).fit(train, valid, run_dir=tmp_path / "good")
    first = good.fit_result.steps

    def fit(start, folder, *held_out):
        def diverging(self, batch, index):
            return step(self, batch, index) * (float("nan") if self.global_step >= start else 1)

        options = {"epochs": 4, "patience": 0, "schedule": "constant", "warmup_steps": 0}
        with monkeypatch.context() as patch:
            patch.setattr(TrainingModule, "training_step", diverging)
            return NeuralClassifier(tree, settings(), trainer(**options)).fit(train, *held_out, run_dir=folder)

    for held_out in ((valid,), ()):
        folder = tmp_path / f"late{len(held_out)}"
        model = fit(first + 3, folder, *held_out)
        assert model.fit_result.status == "diverged" and model.fit_result.steps < 4 * first
        assert np.isfinite(model.predict_log_proba(valid.texts)).all()
        state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=False)["state_dict"]
        assert all(torch.isfinite(p).all() for p in state.values())
    with pytest.raises(ValueError, match=r"diverged at step .* lower trainer\.learning_rate"):
        fit(2, tmp_path / "early", valid)


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX systems")
def test_a_full_disk_leaves_the_checkpoint_before(tmp_path):
    import resource

    path = tmp_path / "last.ckpt"
    WholeFiles().save_checkpoint({"step": 1}, path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(ConfigError, match="no space left"), user_errors():
            WholeFiles().save_checkpoint({"step": 2, "weights": torch.zeros(200_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert torch.load(path) == {"step": 1} and [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_logs_of_an_earlier_start_are_kept(tmp_path, recwarn):
    for _ in range(3):
        with open_loggers(["csv"], tmp_path) as loggers:
            log(loggers, {"a": 1.0}, 1)
    assert sorted(p.name for p in tmp_path.glob("*.csv")) == ["metrics.csv", "metrics_1.csv", "metrics_2.csv"]
    assert not [w for w in recwarn if "log files" in str(w.message)]


def test_every_epoch_has_its_own_order(monkeypatch):
    """Lightning tells only some samplers which epoch it is; ours has to be among them."""
    tree = toy_tree()
    step, order = TrainingModule.training_step, {}

    def spy(self, batch, index):
        order.setdefault(self.current_epoch, []).extend(batch["row"].tolist())
        return step(self, batch, index)

    monkeypatch.setattr(TrainingModule, "training_step", spy)
    NeuralClassifier(tree, settings(), trainer(epochs=2)).fit(toy_data(tree, 4))
    assert sorted(order[0]) == sorted(order[1]) == list(range(28))
    assert order[0] != order[1]


@pytest.mark.slow
def test_checkpoints_of_other_settings_or_data_are_not_resumed(tmp_path):
    tree = toy_tree()
    train, valid = toy_data(tree, 4), toy_data(tree, 2, seed=1)
    NeuralClassifier(tree, settings(), trainer(epochs=1)).fit(train, valid, run_dir=tmp_path)
    with pytest.raises(ValueError, match="other settings or other data"):
        NeuralClassifier(tree, settings(), trainer(epochs=2)).fit(train, valid, run_dir=tmp_path)
    with pytest.raises(ValueError, match="other settings or other data"):
        NeuralClassifier(tree, settings(), trainer(epochs=1)).fit(train.take(range(20)), valid, run_dir=tmp_path)
    NeuralClassifier(tree, settings(), trainer(epochs=2, resume=False)).fit(train, valid, run_dir=tmp_path)


@pytest.mark.slow
def test_the_best_weights_are_kept_not_the_last(tmp_path, monkeypatch):
    """Validation says that the first epoch was the best: its weights are what the classifier holds."""
    tree = toy_tree()
    train, valid = toy_data(tree, 10), toy_data(tree, 2, seed=1)
    first = NeuralClassifier(tree, settings(), trainer(epochs=4, patience=0)).fit(train, valid, run_dir=tmp_path / "a")
    assert (tmp_path / "a" / "checkpoints" / "best.ckpt").exists()
    from hjc.nn import fitting

    real, calls = fitting.level_metrics, []

    def worse_every_time(*args, **kwargs):
        calls.append(1)
        return {**real(*args, **kwargs), "log_loss": float(len(calls))}

    monkeypatch.setattr(fitting, "level_metrics", worse_every_time)
    early = NeuralClassifier(tree, settings(), trainer(epochs=4, patience=0)).fit(train, valid, run_dir=tmp_path / "b")
    state = torch.load(tmp_path / "b" / "checkpoints" / "best.ckpt", weights_only=True)
    assert state["epoch"] == 0
    torch.testing.assert_close(
        early.network.head.linear.weight, state["state_dict"]["network.head.linear.weight"].cpu()
    )
    assert not torch.equal(early.network.head.linear.weight, first.network.head.linear.weight)


@pytest.mark.slow
def test_early_stopping_and_the_time_limit_say_so():
    tree = toy_tree()
    train, valid = toy_data(tree, 10), toy_data(tree, 2, seed=1)
    limited = NeuralClassifier(tree, settings(), trainer(epochs=50, max_minutes=1e-6)).fit(train, valid)
    assert limited.fit_result.status == "time_limit" and limited.fit_result.steps < 10
    stopped = NeuralClassifier(
        tree, settings(), trainer(epochs=40, patience=1, learning_rate=0.0, head_learning_rate=0.0)
    ).fit(train, valid)
    assert stopped.fit_result.status == "early_stopped" and stopped.fit_result.epochs < 6


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"ema_decay": 0.9},
        {"accumulate": 2},
        {"schedule": "cosine"},
        {"label_smoothing": 0.1},
        {"class_weights": "balanced"},
        {"class_weights": "sqrt"},
        {"precision": "bf16-mixed"},
        {"bucket": False},
        {"validate_per_epoch": 3},
    ],
    ids=lambda o: "-".join(f"{k}={v}" for k, v in o.items()),
)
def test_every_option_of_the_trainer_still_learns(options):
    tree = toy_tree()
    model = NeuralClassifier(tree, settings(), trainer(epochs=6, **options)).fit(toy_data(tree), toy_data(tree, 3, 1))
    test = toy_data(tree, 4, seed=7)
    top = tree.leaves[model.predict_log_proba(test.texts).argmax(1)]
    assert (top == test.gold).mean() > 0.95


def test_class_weights_are_inverse_frequencies_with_mean_one():
    tree = toy_tree()
    data = toy_data(tree, 4).take([0, 0, 0, 4])  # three rows of one code, one of another
    np.testing.assert_allclose(class_weights(data, "balanced"), [2 / 3, 2 / 3, 2 / 3, 2.0], rtol=1e-6)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX systems")
def test_the_first_ctrl_c_stops_in_good_order(tmp_path, monkeypatch):
    tree = toy_tree()
    step = TrainingModule.training_step

    def interrupt(self, batch, index):
        if self.global_step == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch, index)

    monkeypatch.setattr(TrainingModule, "training_step", interrupt)
    before = signal.getsignal(signal.SIGINT)
    model = NeuralClassifier(tree, settings(), trainer(epochs=30)).fit(toy_data(tree), toy_data(tree, 2, 1))
    assert model.fit_result.status == "interrupted" and model.fit_result.steps < 30
    assert model.predict(["alpha"]).iloc[0]["probability"] > 0
    assert signal.getsignal(signal.SIGINT) == before


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX systems")
def test_ctrl_c_is_given_back_after_an_error(monkeypatch):
    def fail(self, batch, index):
        raise MemoryError("full")

    monkeypatch.setattr(TrainingModule, "training_step", fail)
    before = signal.getsignal(signal.SIGINT)
    tree = toy_tree()
    with pytest.raises(MemoryError):
        NeuralClassifier(tree, settings(), trainer()).fit(toy_data(tree, 2))
    assert signal.getsignal(signal.SIGINT) == before


DDP = """
import os
import sys
from functools import partial
import numpy as np
sys.path.insert(0, {root!r})
from tests.test_training import fit_without_chance
from tests.test_neural import toy_data, toy_tree
if __name__ == "__main__":
    model = fit_without_chance({run!r}, devices=2, strategy="ddp")
    if os.environ.get("LOCAL_RANK", "0") == "0":  # the processes share the folder and the terminal
        np.save({run!r} + "/out.npy", model.predict_log_proba(toy_data(toy_tree(), 2, 2).texts))
        np.save({run!r} + "/valid.npy", model.fit_result.best_valid_log_loss)
"""


def fit_without_chance(run, **options):
    """A frozen encoder and no dropout: nothing is drawn at random in the forward pass."""
    tree = toy_tree()
    chosen = trainer(epochs=3, batch_size=15, patience=0, accelerator="cpu", **options)
    model = NeuralClassifier(tree, settings(freeze_encoder=True), chosen)
    return model.fit(toy_data(tree), toy_data(tree, 3, 1), run_dir=Path(run))


@pytest.mark.slow
def test_two_processes_give_the_metrics_of_one(tmp_path):
    """DDP over gloo: the batch is divided, so gradients, validation and the final weights are those of one process."""
    run, script = tmp_path / "two", tmp_path / "fit.py"
    run.mkdir()
    root = str(Path(__file__).resolve().parent.parent)
    script.write_text(DDP.format(root=root, run=str(run)), encoding="utf-8")
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=env, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    one = fit_without_chance(tmp_path / "one")
    found = one.predict_log_proba(toy_data(toy_tree(), 2, 2).texts)
    np.testing.assert_allclose(np.load(run / "out.npy"), found, atol=1e-4)
    assert float(np.load(run / "valid.npy")) == pytest.approx(one.fit_result.best_valid_log_loss, abs=1e-5)


@pytest.mark.skipif(sys.platform != "linux", reason="asks glibc, and counts page faults as Linux does")
def test_memory_of_a_step_is_used_again():
    import resource

    if not keep_memory():
        pytest.skip("another C library than glibc")

    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(20):
            torch.ones(4_000_000)  # 4,000 pages each
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    faults()
    assert faults() < 8_000


@QUICK
@given(lengths=LENGTHS, tokens=st.integers(1, 600), epoch=st.integers(0, 3))
def test_batches_of_tokens_have_every_row_once_and_are_as_many_in_every_epoch(lengths, tokens, epoch):
    batches = token_batches(lengths, tokens, seed=1, epoch=epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert all(map(len, batches)) and len(batches) == len(token_batches(lengths, tokens, 1, 0))
    share = lengths.sum() / len(batches)
    assert max(lengths[b].sum() for b in batches) < share + lengths.max()
    assert share < 2 * max(tokens, lengths.max())


@pytest.mark.slow
def test_rows_count_alike_in_batches_of_tokens():
    """The losses of an epoch sum up to that of all rows, whatever batches they are in."""
    tree = toy_tree()
    data = toy_data(tree, 20)
    options = {"epochs": 1, "learning_rate": 0.0, "head_learning_rate": 0.0, "batch_tokens": 40}
    seen, step = [], TrainingModule.training_step

    def spy(self, batch, index):
        loss = step(self, batch, index)
        expected = (self.losses(batch) * batch["weight"]).sum()
        seen.append((float(loss), float(expected), len(batch["row"])))
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingModule, "training_step", spy)
        NeuralClassifier(tree, settings(dropout=0.0, freeze_encoder=True), trainer(**options)).fit(data)
    losses, sums, rows = (np.array(x) for x in zip(*seen, strict=True))
    assert sum(rows) == len(data) and len(set(rows)) > 1
    np.testing.assert_allclose(losses * len(data) / len(rows), sums, rtol=1e-4)
