"""What rules do on labelled rows: the same as applying the rules of hjc.decision one by one."""

import numpy as np
import pytest

from hjc.data import JobData
from hjc.decision import back_off
from hjc.evaluation.rules import ALPHAS, BACK_OFF, LEAST_ROWS, TARGETS, RuleRows
from hjc.evaluation.validation import describe_validation
from hjc.evaluation.validation_scores import ValidationScores
from hjc.metrics import LevelProba
from tests.test_validation import MODEL, TREE, rows


def spoken(n, start):
    """Every third row is German, and its label a coin's: one language is much harder."""
    plain = rows(n, start)
    language = ["de" if i % 3 == 0 else "pl" for i in range(n)]
    wrong = np.random.default_rng(start).permutation(plain.gold)
    gold = [w if x == "de" else g for g, w, x in zip(plain.gold, wrong, language, strict=True)]
    return JobData.from_lists(TREE, plain.texts, [TREE.codes[g] for g in gold], languages=language)


class World:
    """A model's rules on 900 rows: calibrated probabilities and the table."""

    def __init__(self):
        self.found = describe_validation(MODEL, spoken(1500, 0))
        self.test = spoken(900, 40_000)
        self.x = self.found.calibrator.transform(MODEL.predict_log_proba(self.test.texts))
        self.table = self.gathered(self.found.scores)

    def gathered(self, validation):
        watch = RuleRows(TREE, self.test.gold, self.test.language, validation, calibrated=True)
        for start in (600, 0, 300):  # any order
            at = np.arange(start, start + 300)
            watch.update(at, LevelProba.of(TREE, self.x[at]))
        return watch.table()

    def line(self, rule, parameter=None, level=None, slice=""):
        part = self.table[(self.table.rule == rule) & (self.table.slice == slice)]
        part = part[part.parameter == parameter] if parameter is not None else part
        part = part[part.level == level] if level is not None else part
        assert len(part) == 1, part
        return part.iloc[0]

    def right(self, node):
        return (TREE.node_path[self.test.gold, np.maximum(TREE.level[node] - 1, 0)] == node) & (node >= 0)


@pytest.fixture(scope="module")
def world():
    return World()


def test_codes_of_paths(world):
    levels = LevelProba.of(TREE, world.x)
    leaf = TREE.node_path[levels.top[:, -1]]
    gold = TREE.node_path[world.test.gold]
    for rule, nodes in (
        ("most probable code of the level", levels.top), ("path of the most probable leaf", leaf),
        ("greedy path", levels.path),
    ):  # fmt: skip
        for level in (1, 2):
            expected = (nodes[:, level - 1] == gold[:, level - 1]).mean()
            assert world.line(rule, level=level).right == pytest.approx(expected)
    agree = (leaf == levels.top).all(axis=1)
    assert world.line("codes of the levels agree").right == pytest.approx(agree.mean()) and not agree.all()


def test_back_off_and_targets(world):
    scores = world.found.scores
    rules = {("back-off", p): p for p in BACK_OFF}
    for target in TARGETS:
        for by in (False, True):
            fit = scores.thresholds(target, calibrated=True, by_group=by).thresholds
            rules["target accuracy by group" if by else "target accuracy", target] = fit
    for (rule, parameter), threshold in rules.items():
        node = back_off(TREE, world.x, threshold).node
        found = world.line(rule, parameter)
        assert found.coded == pytest.approx((node >= 0).mean())
        if (node >= 0).any():
            assert found.right == pytest.approx(world.right(node)[node >= 0].mean())
            assert found.right_low <= found.right <= found.right_high
            assert found.mean_level == pytest.approx(TREE.level[node[node >= 0]].mean())
        else:
            assert np.isnan(found.right) and np.isnan(found.mean_level)
    best = LevelProba.of(TREE, world.x)
    for level in (1, 2):
        fit = scores.thresholds(0.8, rule="level", calibrated=True).thresholds
        coded = best.confidence[:, level - 1] >= fit.values[level - 1] - 1e-9
        assert world.line("automatic at the level", 0.8, level).coded == pytest.approx(coded.mean(), abs=2e-3)


@pytest.mark.parametrize("by", [None, "language", "group"])
def test_conformal_rules(by, world):
    name = "" if by is None else f" by {by}"
    groups = {
        None: None, "language": world.test.language,
        "group": [TREE.codes[i] for i in LevelProba.of(TREE, world.x).top[:, 0].tolist()],
    }[by]  # fmt: skip
    for alpha in ALPHAS:
        node = world.found.scores.conformal_node(alpha, calibrated=True, by=by).decide(world.x, groups).node
        found = world.line(f"conformal code{name}", alpha)
        assert found.coded == pytest.approx((node >= 0).mean())
        assert found.right == pytest.approx((world.right(node) | (node < 0)).mean())
        for level in (1, 2):
            sets = world.found.scores.conformal_sets(level, alpha, calibrated=True, by=by).sets(world.x, groups)
            found = world.line(f"conformal set{name}", alpha, level)
            assert found.right == pytest.approx(sets.covers(TREE, world.test.gold).mean())
            assert found.set_size == pytest.approx(sets.sizes.mean())
            assert found.set_size_median == np.median(sets.sizes)
    for language in ("de", "pl"):
        keep = np.array(world.test.language) == language
        assert keep.sum() >= LEAST_ROWS
        covered = world.line(f"conformal set{name}", 0.1, 2, language)
        assert covered.right == pytest.approx(
            world.found.scores.conformal_sets(2, 0.1, calibrated=True, by=by)
            .sets(world.x, groups)
            .covers(TREE, world.test.gold)[keep]
            .mean()
        )
    if by is None:  # one threshold for both: the hard language is covered less often
        assert (
            world.line("conformal set", 0.1, 2, "de").right
            < 0.87
            < 0.92
            < world.line("conformal set", 0.1, 2, "pl").right
        )
    if by == "language":
        assert 0.85 < world.line("conformal set by language", 0.1, 2, "de").right < 0.95


def test_without_validation_rows_and_with_inner_gold_codes(world):
    table = world.gathered(None)
    assert set(table.rule) == {"most probable code of the level", "path of the most probable leaf", "greedy path",
                               "codes of the levels agree", "back-off"}  # fmt: skip
    gold = np.array([TREE.index_of["1"], TREE.index_of["11"]])
    p = np.array([[0.9, *[0.1 / 7] * 7]] * 2)
    watch = RuleRows(TREE, gold, ["", ""], None, calibrated=False)
    watch.update(np.arange(2), LevelProba.of(TREE, np.log(p)))
    found = watch.table()
    backed = found[(found.rule == "back-off") & (found.parameter == 0.5)].iloc[0]
    assert backed.rows == 1 and backed.right == 1  # 11 was stated where only 1 is known: it cannot be judged
    deep = found[(found.rule == "greedy path") & (found.level == 2)].iloc[0]
    assert deep.rows == 1
    empty = RuleRows(TREE, np.zeros(0, dtype=np.int64), [], None, calibrated=False)
    assert empty.table().right.isna().all()


def test_validation_rows_above_a_level_leave_its_sets_out(world):
    inner = JobData.from_lists(TREE, world.test.texts[:200], [TREE.codes[g][:1] for g in world.test.gold[:200]])
    scores = describe_validation(MODEL, inner).scores
    assert isinstance(scores, ValidationScores)
    watch = RuleRows(TREE, world.test.gold, world.test.language, scores, calibrated=False)
    watch.update(np.arange(900), LevelProba.of(TREE, world.x))
    table = watch.table()
    assert set(table[table.rule == "conformal set"].level) == {1}
