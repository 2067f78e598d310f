"""Batches of a ranking loss: no code twice, no negative that is right for a row, every row in its turn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hjc.nn.pairs import Negative, PairBatches
from hjc.taxonomy import Taxonomy, from_prefix_codes

#: two levels of siblings, a single-child group (31) and a leaf at the top (4)
TREE = from_prefix_codes(["111", "112", "113", "121", "122", "211", "212", "221", "311", "4"], [1, 2, 3])


def under(tree: Taxonomy, node: int) -> set[int]:
    """Leaf columns under a node, by walking up from each leaf."""
    found = set()
    for column, leaf in enumerate(tree.leaves.tolist()):
        at = leaf
        while at >= 0:
            if at == node:
                found.add(column)
            at = int(tree.parents[at])
    return found


@st.composite
def plans(draw: st.DrawFn) -> tuple[PairBatches, np.ndarray]:
    """Rows of a few codes, one of which may dominate, and one to three texts a leaf."""
    inner = draw(st.booleans())
    nodes = list(range(len(TREE))) if inner else TREE.leaves.tolist()
    gold = draw(st.lists(st.sampled_from(nodes), min_size=1, max_size=60))
    gold += [gold[0]] * draw(st.integers(0, 40))
    leaf = np.repeat(np.arange(TREE.num_leaves), draw(st.lists(st.integers(1, 3), min_size=10, max_size=10)))
    elsewhere = {}
    if draw(st.booleans()):
        elsewhere = {TREE.index_of["111"]: [Negative(0, TREE.index_of["2"]), Negative(len(leaf))]}
    plan = PairBatches(
        TREE,
        np.array(gold),
        leaf,
        batch_size=draw(st.integers(2, 12)),
        hard_negatives=draw(st.integers(0, 3)),
        seed=draw(st.integers(0, 3)),
        elsewhere=elsewhere,
    )
    return plan, leaf


@given(plans(), st.integers(0, 3))
def test_batches_of_an_epoch(made: tuple[PairBatches, np.ndarray], epoch: int) -> None:
    plan, _leaf = made
    gold, number = plan.gold, len(plan)
    codes, counts = np.unique(gold, return_counts=True)
    assert number == int(np.ceil(len(gold) / min(plan.batch_size, len(codes))))
    batches = plan.rows(epoch)
    assert len(batches) == number
    used = np.concatenate(batches)
    assert len(np.unique(used)) == len(used), "a row comes once an epoch at most"
    for rows in batches:
        assert 1 <= len(rows) <= plan.batch_size
        sets = [under(TREE, int(node)) for node in gold[rows]]
        assert sum(map(len, sets)) == len(set().union(*sets)), "no code twice, and none above another"
    if TREE.is_leaf[codes].all():
        for code, count in zip(codes, counts, strict=True):
            assert (gold[used] == code).sum() == min(count, number), "only codes without room send others later"
        assert len(used) == plan.rows_per_epoch
        sizes = [len(rows) for rows in batches]
        assert max(sizes) - min(sizes) <= 1


@given(plans(), st.integers(0, 2))
def test_texts_of_a_batch(made: tuple[PairBatches, np.ndarray], epoch: int) -> None:
    plan, leaf = made
    for number in range(min(len(plan), 4)):
        batch = plan.batch(epoch, number)
        right = [under(TREE, int(node)) for node in plan.gold[batch.rows]]
        everywhere = set().union(*right)
        for text, leaves in zip(batch.positive.tolist(), right, strict=True):
            assert int(leaf[text]) in leaves
        for text in batch.negative.ravel().tolist():
            assert text >= len(leaf) or int(leaf[text]) not in everywhere, "a negative is wrong for every row"
        free = TREE.num_leaves - len(everywhere)
        assert batch.negative.shape[1] >= (plan.hard_negatives if free else 0)
        candidates = len(batch.rows) * (1 + batch.negative.shape[1])
        assert candidates >= min(plan.batch_size, len(batch.rows) + free)
        again = PairBatches(
            TREE, plan.gold, leaf, batch_size=plan.batch_size, hard_negatives=plan.hard_negatives, seed=plan.seed,
            elsewhere=plan.elsewhere,
        ).batch(epoch, number)  # fmt: skip
        for name in ("rows", "positive", "negative"):
            assert np.array_equal(getattr(batch, name), getattr(again, name)), "seed, epoch and number decide"


def plan_of(codes: list[str], **changes: object) -> PairBatches:
    gold = np.array([TREE.index_of[c] for c in codes])
    values = {"batch_size": 2, "hard_negatives": 1, **changes}
    return PairBatches(TREE, gold, np.arange(TREE.num_leaves), **values)  # type: ignore[arg-type]


def negatives_of(plan: PairBatches, code: str, epochs: int = 40) -> set[str]:
    """Codes that hard negatives of rows of a code came from."""
    found = set()
    for epoch in range(epochs):
        for number in range(len(plan)):
            batch = plan.batch(epoch, number)
            for row, texts in zip(batch.rows.tolist(), batch.negative.tolist(), strict=True):
                if plan.taxonomy.codes[int(plan.gold[row])] == code:
                    found |= {TREE.leaf_codes[t] for t in texts[: plan.hard_negatives]}
    return found


def test_siblings_first_then_cousins() -> None:
    assert negatives_of(plan_of(["111", "4"]), "111") == {"112", "113"}
    assert negatives_of(plan_of(["221", "4"]), "221") == {"211", "212"}, "an only child has cousins"
    assert negatives_of(plan_of(["311", "4"]), "311") == {"111", "112", "113", "121", "122", "211", "212", "221"}
    # more than there are siblings: the cousins fill up
    assert negatives_of(plan_of(["111", "4"], hard_negatives=3), "111") == {"112", "113", "121", "122"}


def test_a_sibling_that_is_right_for_another_row_is_no_negative() -> None:
    assert negatives_of(plan_of(["111", "112"]), "111") == {"113"}


def test_what_is_classified_elsewhere() -> None:
    said = {TREE.index_of["11"]: [Negative(0, TREE.index_of["22"]), Negative(10)]}
    plan = plan_of(["111", "4"], elsewhere=said)
    texts = set()
    for epoch in range(60):
        batch = plan.batch(epoch, 0)
        texts |= set(batch.negative[plan.gold[batch.rows] == TREE.index_of["111"]].ravel().tolist())
    names = {*TREE.leaf_codes, ""}
    assert {(*TREE.leaf_codes, "")[t] for t in texts} == {"112", "113", "221", ""} <= names


def test_one_code_that_dominates_keeps_its_place_in_every_batch() -> None:
    codes = ["111"] * 500 + ["112", "121", "211"] * 5
    plan = plan_of(codes, batch_size=4)
    seen = {int(r) for epoch in range(20) for rows in plan.rows(epoch) for r in rows}
    assert len(seen) > 450, "others of its rows come every epoch"
    assert all((plan.gold[rows] == TREE.index_of["111"]).sum() == 1 for rows in plan.rows(0))
    assert min(1 + plan.batch(0, i).negative.shape[1] for i in range(len(plan))) >= 2
    alone = plan_of(["111"] * 7, batch_size=4, hard_negatives=0)
    assert [len(r) for r in alone.rows(0)] == [1] * 7
    assert alone.batch(0, 0).negative.shape == (1, 3), "label texts fill the batch up"


def test_epochs_differ() -> None:
    plan = plan_of(["111", "112", "121", "211", "4"] * 4, batch_size=4)
    assert any(not np.array_equal(a, b) for a, b in zip(plan.rows(0), plan.rows(1), strict=True))


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="all of which need a code"):
        PairBatches(TREE, np.array([-1]), np.arange(TREE.num_leaves), batch_size=4)
    with pytest.raises(ValueError, match="batch_size: got 1"):
        plan_of(["111"], batch_size=1)
