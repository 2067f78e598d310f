"""A small share of every campaign of ``tests/campaigns``; docs/reliability.md has the counts of the long runs."""

import pytest

from tests.campaigns import chat, kills, memory, models, tables, threads
from tests.campaigns.harness import Ended, Tally

pytestmark = pytest.mark.slow


def test_tables() -> None:
    tally = tables.run(24, 5)
    assert tally.faults == [] and tally.counts["rows coded"] > 50 and tally.counts["refused with one message"] > 2


def test_models() -> None:
    tally = models.run(20, 5, today=False)
    assert tally.faults == [] and tally.counts["refused by hjc.load"] > 5


def test_chat() -> None:
    tally = chat.run(30, 5)
    assert tally.faults == [] and tally.counts["answers"] >= 30


def test_serve() -> None:
    pytest.importorskip("fastapi", reason='needs the extra "serve"')
    from tests.campaigns import serve

    tally = serve.run(60, 5)
    assert tally.faults == [] and tally.counts["answers 200"] > 10


def test_threads() -> None:
    assert threads.run(2, 5, names=["linear_topdown", "hybrid_mixture"], spawn=False).faults == []


def test_kills() -> None:
    tally = kills.run(2, 5, rows=300, kinds="predict")
    assert tally.faults == [] and tally.counts["predict: kills"] == 2


def test_memory() -> None:
    tally = memory.run(3000, 5, kinds="predict")
    assert tally.faults == [] and tally.counts["commands"] == 2


@pytest.mark.parametrize(("code", "err"), [(1, "Traceback (most recent call last)"), (-9, ""), (2, "")])
def test_what_must_not_be_is_a_fault(code: int, err: str) -> None:
    tally = Tally("x", 1)
    assert not tally.judge(1, Ended(code, "", err)) and tally.faults


def test_the_accounting_sees_what_is_lost_and_doubled(tmp_path) -> None:
    for text, word in (("id,hjc_status\nr000001x,ok\n", "lost"), ("id,hjc_status\n" + 3 * "r000001x,ok\n", "doubled")):
        (tmp_path / "out.csv").write_text(text)
        tally = Tally("x", 1)
        tables.account(tally, "1", "predict", tmp_path, "out.csv", tables.Counter(["r000001x", "r000002x"]), 2)
        assert len(tally.faults) == 2 and word in tally.faults[1]
