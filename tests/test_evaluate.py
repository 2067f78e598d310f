"""The one evaluation: streaming, slices, files and tables."""

import csv
import io
import json
import math
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from rich.console import Console

from hjc.calibration import Temperature
from hjc.classifiers.base import Classifier
from hjc.data.jobdata import JobData
from hjc.evaluation import Evaluation, evaluate_model
from hjc.evaluation.evaluate import FRAME_COLUMNS, UNKNOWN, evaluation_of, metric_key
from hjc.evaluation.model import batches
from hjc.metrics import METRICS, Resamples, level_metrics, score_rows
from hjc.progress import rows_progress
from hjc.taxonomy import Taxonomy, from_prefix_codes
from tests.strategies import bootstrap_intervals, random_log_proba

TREE = from_prefix_codes(["111", "112", "121", "122", "123", "211", "221", "222", "223"], [1, 2, 3], name="nine")


class Stub(Classifier):
    """Yields given log-probabilities in shuffled batches, from one buffer that it overwrites."""

    name = "stub"

    def __init__(self, log_proba: np.ndarray, batch: int = 7, taxonomy: Taxonomy = TREE) -> None:
        super().__init__(taxonomy)
        self.log_proba, self.batch = log_proba, batch
        self.order = np.random.default_rng(0).permutation(len(log_proba))

    @property
    def is_fitted(self) -> bool:
        return True

    def iter_log_proba(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        buffer = np.empty((self.batch, self.log_proba.shape[1]))
        for i in range(0, len(self.order), self.batch):
            rows = self.order[i : i + self.batch]
            buffer[: len(rows)] = self.log_proba[rows]
            yield rows, buffer[: len(rows)]
            buffer[:] = np.nan  # whoever kept the batch has nothing

    def fit(self, train: JobData, valid: JobData | None = None, *, run_dir: Path | None = None) -> Self:
        raise NotImplementedError

    def save_pretrained(self, directory: Path) -> None:
        raise NotImplementedError

    @classmethod
    def from_pretrained(cls, directory: Path) -> Self:
        raise NotImplementedError


def make(n: int = 120, **columns: Any) -> tuple[Stub, JobData]:
    """A stub and data of n rows, half Polish, gold partly inner nodes."""
    gold = np.random.default_rng(1).integers(0, len(TREE), n)
    columns = {"language": ("pl", "en") * (n // 2), "source": ("ads",) * n, "gold": gold} | columns
    return Stub(random_log_proba(9, n, 0)), JobData(taxonomy=TREE, texts=("x",) * n, **columns)


def drawn(table: Any, width: int = 130) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]


def caption(found: Evaluation) -> str:
    return " ".join(drawn(found.table(width=130)).split())


def test_streaming_in_any_order_equals_scoring_at_once():
    stub, data = make()
    whole = score_rows(TREE, stub.log_proba, data.gold)
    found = evaluate_model(stub, data, bootstrap=50, seed=3, progress=False, min_support=1)
    pl = np.arange(0, 120, 2)
    resamples = Resamples.draw(120, 50, seed=3)
    for level, where in [(1, "level_1"), (3, "level_3"), (None, "overall")]:
        for prefix, rows in [("", np.arange(120)), ("pl/", pl)]:
            expected = level_metrics(whole.take(rows), TREE, level)
            bounds = bootstrap_intervals(whole.take(rows), TREE, level, resamples.take(rows))
            for metric in METRICS:
                key = f"{prefix}{where}/{metric}"
                assert found.metrics[key] == pytest.approx(expected[metric], nan_ok=True), key
                if metric in bounds and not math.isnan(bounds[metric][0]):
                    assert found.intervals[key] == pytest.approx(bounds[metric]), key
    assert set(found.frame["slice"]) == {"", "en", "pl", "ads"}
    assert "source=ads/level_3/ece" in found.metrics
    assert isinstance(found.metrics["level_3/n"], int)
    assert len(found.metrics) == len(found.frame) == 4 * 4 * len(METRICS)


def test_unlabelled_rows_and_small_slices_are_left_out_and_named():
    gold = np.r_[np.full(10, -1), np.tile(TREE.leaves, 10)]
    stub, data = make(100, gold=gold, language=("uk",) * 20 + ("",) * 80, source=())
    labelled = Stub(stub.log_proba[10:])
    found = evaluate_model(labelled, data, bootstrap=0, progress=False)
    assert found.unlabelled == 10 and found.small == {"language uk": 10}
    assert set(found.frame["slice"]) == {"", UNKNOWN}  # source is nowhere known
    assert found.intervals == {}
    assert "rows without a code, left out: 10" in caption(found) and "language uk (10)" in caption(found)


def test_weights_of_the_data_count_only_when_asked():
    stub, data = make(weight=np.r_[np.zeros(60), np.ones(60)])
    plain = evaluate_model(stub, data, bootstrap=0, progress=False).metrics
    weighted = evaluate_model(stub, data, bootstrap=0, progress=False, weighted=True).metrics
    half = score_rows(TREE, stub.log_proba, data.gold).take(np.arange(60, 120))
    assert plain["overall/n"] == 120 and weighted["overall/n"] == 60
    assert weighted["level_2/log_loss"] == pytest.approx(level_metrics(half, TREE, 2)["log_loss"])


def test_groups_widen_the_intervals():
    copies = np.repeat(np.arange(30), 10)
    gold = np.random.default_rng(0).choice(TREE.leaves, 30)[copies]
    data = JobData(taxonomy=TREE, texts=("x",) * 300, gold=gold, group=copies)
    stub = Stub(random_log_proba(9, 30, 0)[copies])
    low, high = evaluate_model(stub, data, bootstrap=300, progress=False).intervals["level_3/log_loss"]
    rows = evaluate_model(stub, data, bootstrap=300, progress=False, cluster=False)
    assert high - low > 2 * (rows.intervals["level_3/log_loss"][1] - rows.intervals["level_3/log_loss"][0])
    rows_and_groups = evaluate_model(stub, data, bootstrap=9, progress=False)
    assert "resamples of groups of rows" in caption(rows_and_groups)


def test_the_same_seed_gives_the_same_intervals():
    stub, data = make()
    a, b, c = (evaluate_model(stub, data, bootstrap=40, seed=s, progress=False).intervals for s in (1, 1, 2))
    assert a == b and a != c


# ---------------------------------------------------------------------- files


def test_files_hold_every_figure_under_its_set_and_no_nan(tmp_path):
    stub, data = make()
    found = evaluate_model(stub, data, bootstrap=20, progress=False)
    found.write(tmp_path)
    evaluate_model(stub, data, name="ads", bootstrap=0, progress=False, slices=()).write(tmp_path)
    found.write(tmp_path / "new" / "folder")

    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is no JSON")

    flat = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=refuse)
    assert flat["test/level_3/recall@5"] == found.metrics["level_3/recall@5"]
    assert flat["test/pl/level_3/log_loss"] == found.metrics["pl/level_3/log_loss"]
    assert "ads/overall/hierarchical_f1" in flat and "ads/pl/level_1/n" not in flat
    with (tmp_path / "metrics.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == FRAME_COLUMNS
    assert len(lines) == len(flat) and {line["set"] for line in lines} == {"test", "ads"}
    for line in lines:
        name = metric_key(line["slice_kind"], line["slice"], line["level"], line["metric"])
        value = flat[f"{line['set']}/{name}"]
        assert float(line["value"] or "nan") == pytest.approx(math.nan if value is None else value, nan_ok=True)


def test_writing_a_set_again_replaces_it(tmp_path):
    stub, data = make()
    evaluate_model(stub, data, bootstrap=0, progress=False).write(tmp_path)
    evaluate_model(stub, data, bootstrap=0, progress=False, slices=()).write(tmp_path)
    flat = json.loads((tmp_path / "metrics.json").read_text())
    assert len(flat) == 4 * len(METRICS) and not list(tmp_path.glob(".*"))
    with (tmp_path / "metrics.csv").open() as file:
        assert len(file.readlines()) == 1 + len(flat)


def test_undefined_and_infinite_figures_are_null_in_json_and_told_apart_in_csv(tmp_path):
    log_proba = np.full((40, 9), -np.inf)
    log_proba[:, 0] = 0.0
    gold = np.full(40, TREE.leaves[0])
    gold[0] = TREE.encode(["112"])[0]
    data = JobData(taxonomy=TREE, texts=("x",) * 40, gold=gold)
    found = evaluate_model(Stub(log_proba), data, bootstrap=10, progress=False)
    found.write(tmp_path)
    flat = json.loads((tmp_path / "metrics.json").read_text())
    assert flat["test/level_3/log_loss"] is None and flat["test/level_3/impossible"] == 1
    assert flat["test/level_1/log_loss"] == 0.0 and flat["test/level_1/lca_level"] is None
    text = (tmp_path / "metrics.csv").read_text()
    assert "test,,,3,log_loss,inf," in text and "test,,,1,lca_level,,,,40" in text
    assert "probability 0 (log-loss is infinite): 1" in caption(found)


def test_foreign_files_are_not_overwritten(tmp_path):
    stub, data = make()
    found = evaluate_model(stub, data, bootstrap=0, progress=False)
    (tmp_path / "metrics.csv").write_text("epoch,loss\n1,2\n")
    with pytest.raises(ValueError, match="has other columns"):
        found.write(tmp_path)
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        found.write(tmp_path)


def test_keys_of_slices():
    assert metric_key("", "", "4", "recall@5") == "level_4/recall@5"
    assert metric_key("language", "pl", "overall", "ece") == "pl/overall/ece"
    assert metric_key("source", "a/b", "1", "n") == "source=a_b/level_1/n"


# ---------------------------------------------------------------------- tables


def test_the_table_has_one_row_a_level_with_intervals_and_the_no_text_column():
    stub, data = make()
    found = evaluate_model(stub, data, bootstrap=100, progress=False, train_gold=data.gold)
    table = found.table(title="test", width=130)
    assert table.row_count == 4
    text = drawn(table)
    for word in ("1 (2)", "2 (4)", "3 (9)", "overall", "log-loss", "R@1 %", "macro", "hF1", "LCA", "ECE", "no text"):
        assert word in text, word
    low, high = found.intervals["level_3/log_loss"]
    assert f"{low:.3f}-{high:.3f}" in text and f"{100 * found.metrics['level_3/recall@1']:.1f}" in text
    inner = 120 - found.metrics["level_3/n"]
    assert f"gold codes at inner nodes, scored to their own level: {inner}" in caption(found)


@pytest.mark.parametrize("width", [60, 80, 100, 130])
def test_a_narrow_terminal_loses_columns_and_not_digits(width):
    stub, data = make()
    found = evaluate_model(stub, data, bootstrap=100, progress=False, train_gold=data.gold)
    text = drawn(found.table(width=width), width)
    assert "…" not in text and ("no room for" in " ".join(text.split())) == (width < 110)


def test_the_table_of_a_slice_has_one_row_a_language():
    stub, data = make()
    found = evaluate_model(stub, data, bootstrap=0, progress=False)
    table = found.table(slice="language", level=2)
    assert table.row_count == 3 and "level 2, by language" in drawn(table)
    with pytest.raises(ValueError, match="slice: got 'colour', evaluated were 'language', 'source'"):
        found.table(slice="colour")
    with pytest.raises(ValueError, match="goes with slice"):
        found.table(level=2)
    with pytest.raises(ValueError, match="allowed are 1"):
        found.table(slice="language", level=9)


# ---------------------------------------------------------------------- errors, progress


def test_a_classifier_must_yield_every_row_once():
    stub, data = make()
    stub.order = np.r_[stub.order[:-1], stub.order[:1]]
    with pytest.raises(ValueError, match="yielded a row twice"):
        list(batches(stub, data))
    stub.order = stub.order[:-3]
    with pytest.raises(ValueError, match="left out 3 of 120 rows"):
        list(batches(stub, data))
    stub.order = stub.order[[0, 0]]  # twice within one batch
    with pytest.raises(ValueError, match="yielded a row twice"):
        list(batches(stub, data))


def test_wrong_data_is_refused():
    stub, data = make()
    other = from_prefix_codes(["1", "2"], [1])
    with pytest.raises(ValueError, match="the classifier codes to"):
        evaluate_model(stub, JobData(taxonomy=other, texts=("x",), gold=[0]))
    with pytest.raises(ValueError, match="rows with a code: got 0 rows"):
        evaluate_model(stub, data.take([]))
    with pytest.raises(ValueError, match="slices: got 'colour'"):
        evaluate_model(stub, data, slices=("colour",))
    with pytest.raises(ValueError, match="bootstrap: got -1"):
        evaluate_model(stub, data, bootstrap=-1)
    with pytest.raises(ValueError, match="scores of 2 rows for data of 120"):
        evaluation_of(score_rows(TREE, stub.log_proba[:2], data.gold[:2]), data)


def test_progress_shows_rows_a_second_only_when_slow_and_wanted():
    shown = {}
    for name, enabled, delay in [("slow", True, 0.0), ("quick", True, 100.0), ("off", False, 0.0)]:
        console = Console(file=io.StringIO(), force_terminal=True, width=100)
        with rows_progress("evaluating", 10, enabled, delay=delay, console=console) as bar:
            bar.advance(4)
            bar.advance(6)
        shown[name] = console.file.getvalue()  # type: ignore[attr-defined]
    assert "evaluating" in shown["slow"] and "10/10" in shown["slow"] and "rows/s" in shown["slow"]
    assert shown["quick"] == shown["off"] == ""


def test_memory_grows_by_at_most_a_hundred_bytes_a_row_and_level():
    """Raw and calibrated probabilities, all tables; what the data and one batch take is the same for any rows."""
    tree = from_prefix_codes([f"{i:04b}" for i in range(16)], [1, 2, 3, 4])
    peaks = []
    for n in (10_000, 30_000):  # a step of 4,096 rows is full
        stub = Stub(np.tile(random_log_proba(16, 500, 0).astype(np.float32), (n // 500, 1)), batch=500, taxonomy=tree)
        stub.calibrator = Temperature(tree, 2.0)
        data = JobData(taxonomy=tree, texts=("x",) * n, gold=np.tile(tree.leaves, n)[:n])
        tracemalloc.start()
        evaluate_model(stub, data, bootstrap=0, progress=False)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 20_000 <= 100 * tree.depth
