"""Cost tables: read from files, and the decisions they lead to."""

import numpy as np
import pytest

from hjc.decision import CostTable, bayes_decision, read_cost_table
from tests.test_validation import MODEL, TREE

X = MODEL.predict_log_proba([str(i) for i in range(60)])
P = np.exp(X.astype(float))


def write(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "cost.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_a_table_of_broader_codes_and_silence(tmp_path):
    path = write(tmp_path, "stated,1,2,3\n1,0,4,4\n2,1,0,4\n3,1,4,0\n,0.3,0.3,0.3\n")
    table = read_cost_table(path, TREE)
    assert [TREE.codes[n] if n >= 0 else "" for n in table.nodes] == ["1", "2", "3", ""]
    found = bayes_decision(TREE, X, table)
    coarse = np.exp(TREE.aggregate(X, 1).astype(float))
    expected = coarse @ np.array([[0, 4, 4], [1, 0, 4], [1, 4, 0], [0.3] * 3], dtype=float).T
    pick = expected.argmin(axis=1)
    np.testing.assert_allclose(found.expected_cost, expected.min(axis=1), rtol=1e-5)
    assert found.decisions.node.tolist() == table.nodes[pick].tolist()
    assert (found.decisions.node < 0).any() and (found.decisions.node >= 0).any()
    no_silence = bayes_decision(TREE, X, CostTable(table.nodes[:-1], table.cost[:-1]))
    assert (no_silence.decisions.node >= 0).all()


def test_the_lca_cost_as_a_table_gives_the_lca_decision(tmp_path):
    codes, leaves = list(TREE.codes), [TREE.codes[i] for i in TREE.leaves]
    shared = lambda a, y: next((k for k in (2, 1) if a[:k] == y[:k] and len(a) >= k), 0)  # noqa: E731
    lines = [";".join(["", *leaves])]
    for a in ["", *codes]:
        lines.append(";".join([a, *(f"{len(a) + len(y) - 2 * shared(a, y)},0" for y in leaves)]))
    table = read_cost_table(write(tmp_path, "\n".join(lines)), TREE)  # semicolons and decimal commas
    mine, built_in = bayes_decision(TREE, X, table), bayes_decision(TREE, X, "lca")
    np.testing.assert_allclose(mine.expected_cost, built_in.expected_cost, atol=1e-6)
    np.testing.assert_array_equal(mine.decisions.node, built_in.decisions.node)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stated,1,2\n1,0,1\n", "no column holds '?31"),
        ("stated,1,11,2,3\n1,0,0,1,1\n", "'1' and '11' overlap"),
        ("stated,1,2,9\n1,0,1,1\n", "no codes of the taxonomy: '9'"),
        ("stated,1,2,3\n1,0,x,1\n", "not a number"),
        ("stated,1,2,3\n1,0,inf,1\n", "not a number"),
        ("stated,1,2,3\n1,0,1\n", "has 2 costs for 3 columns"),
        ("stated,1,2,3\n1,0,1,1\n1,0,1,1\n", "more than one line"),
        ("stated,1,2,3\n", "expected a header"),
        ("", "expected a header"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_cost_table(write(tmp_path, text), TREE)


def test_other_damage(tmp_path):
    with pytest.raises(ValueError, match="UTF-8"):
        read_cost_table(write(tmp_path, "stated,ą\n", "utf-16"), TREE)
    with pytest.raises(ValueError, match="cost table"):
        CostTable(np.array([1]), np.zeros((2, 8)))
