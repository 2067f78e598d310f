"""The desk on PostgreSQL, and every route under requests made by schemathesis; ``make test-more`` has both."""

import itertools
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason='needs the extra "serve": pip install "hjc[serve]"')

import hjc
from tests.desk_server import HOW, postgresql
from tests.desk_server import desk as server_of
from tests.serve_client import MODEL, batch_of, client, told
from tests.test_serve_desk import (  # noqa: F401  the same tests, on the store below
    desk,
    test_a_retention_period_removes_old_texts,
    test_a_sample_is_dealt_with_a_common_part_and_disputes_are_settled,
    test_an_ad_that_was_held_too_long_goes_to_another,
    test_two_coders_never_get_one_ad_unless_it_has_a_second_copy,
    test_undo_skip_and_not_a_job,
)

pytestmark = [pytest.mark.more, pytest.mark.slow]
ROOT = Path(hjc.__file__).resolve().parent.parent
_NUMBER = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgresql() as url:
        yield url


@pytest.fixture
def store(server: str) -> str:
    """A database of its own for each test."""
    import psycopg

    name = f"desk{next(_NUMBER)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload]
    return server.replace("/postgres?", f"/{name}?")


def test_postgresql_has_the_schema_and_refuses_changes(store: str) -> None:
    import sqlalchemy as sa
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from hjc.serve.store.database import Store
    from hjc.serve.store.schema import metadata

    with client(store) as made:
        batch_of(made, ["nurse", "cook"], automatic=0.01)
        opened = made.service.store
        with opened.read() as connection:
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []
            found = connection.execute(sa.text("SELECT codes, how FROM desk_final")).all()
            assert {row.how for row in found} == {"automatic"} and all(row.codes for row in found)
        with pytest.raises(sa.exc.DBAPIError, match="only ever added"), opened.write() as connection:
            connection.execute(sa.text("DELETE FROM decisions"))
    Store(store).close()  # opened again: nothing to migrate


def test_two_decisions_on_one_ad_at_a_time_are_no_deadlock(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are written, and name the ad, before either brings its outcome up to date."""
    from hjc.serve.store import queue
    from hjc.serve.store.people import add_user

    both, settle = threading.Barrier(2), queue.settle

    def together(connection: Any, of_ads: Any) -> None:
        both.wait(10)
        settle(connection, of_ads)

    with client(store) as made:
        batch_of(made, ["nurse"])
        opened = made.service.store
        with opened.write() as connection:
            people = [add_user(connection, name, "supervisor")[0] for name in ("anna", "bo")]
        monkeypatch.setattr(queue, "settle", together)

        def judge(number: int) -> int:
            choice = queue.Choice(key=f"key-{number}", kind="adjudicate", codes=["211"])
            with opened.write() as connection:
                return queue.adjudicate(connection, people[number], 1, choice)

        with ThreadPoolExecutor(2) as pool:
            assert len(set(pool.map(judge, range(2)))) == 2


def test_every_route_answers_as_its_description_says(tmp_path: Path) -> None:
    schemathesis = pytest.importorskip("schemathesis", reason=f"no schemathesis: {HOW}")
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st
    from schemathesis.specs.openapi import checks

    # what one field says of another, and codes of the tree, no description of JSON can hold
    left_out = [checks.positive_data_acceptance]
    with client(tmp_path / "desk.db") as made:
        batch_of(made, ["nurse", "cook", "baker"])
        schema = schemathesis.openapi.from_dict(told(made.get("/openapi.json")))
        operations = [found.ok() for found in schema.get_all_operations()]
        assert len(operations) > 25
        for operation in operations:
            if operation.path.endswith(("/logout", "/upload", "/look", "/disable", "/token", "/reload")):
                continue  # these end the session or take files: they have tests of their own

            @settings(max_examples=10, deadline=None, phases=[Phase.generate], database=None,
                      suppress_health_check=list(HealthCheck))  # fmt: skip
            @given(case=operation.as_strategy(), _=st.just(None))
            def check(case: Any, _: Any) -> None:
                answer = made.request(**_request(case))
                assert answer.status_code < 500, f"{case.method} {case.path}: {answer.status_code} {answer.text}"
                assert str(answer.status_code) in case.operation.definition.raw["responses"], answer.text
                case.validate_response(schemathesis.Response.from_any(answer), excluded_checks=left_out)

            check()


def _request(case: Any) -> dict[str, Any]:
    """As a test client takes it: what no URL and no header can hold is left out."""
    sent = case.as_transport_kwargs(base_url="http://localhost")
    return {name: value for name, value in sent.items() if name in ("method", "url", "params", "json", "headers")}


def test_the_calls_of_the_page_on_r(tmp_path: Path) -> None:
    """docs/r.md as it stands: httr2 against a service, and reticulate in one process."""
    program = shutil.which("Rscript")
    has = 'for (name in c("httr2", "reticulate")) library(name, character.only = TRUE)'
    if program is None or subprocess.run([program, "-e", has], capture_output=True).returncode:
        pytest.skip("no R with httr2 and reticulate: apt-get install r-base-core r-cran-httr2 r-cran-reticulate")
    page = ROOT / "docs" / "r.md"
    if not page.is_file():
        pytest.skip("hjc is not run from a checkout")
    blocks = re.findall(r"^```r\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    one_process = blocks.pop()
    with server_of(tmp_path / "desk.db") as service:
        asked = "\n".join(blocks).replace("http://127.0.0.1:8000", service.url)
        done = subprocess.run([program, "-e", asked], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    environment = {**os.environ, "RETICULATE_PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    called = one_process.replace("outputs/titles", str(MODEL))
    done = subprocess.run([program, "-e", called], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
