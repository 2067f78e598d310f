"""Corrections from outside the desk, and the training of a new model with all that was decided."""

import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from hjc.serve.coding import row_cells
from hjc.serve.models import Served
from hjc.serve.retraining import train_again
from hjc.serve.schemas import LearnRow
from hjc.serve.service import Service
from hjc.serve.store.batches import add_ads, corrections_batch
from hjc.serve.store.people import User
from hjc.serve.store.queue import Choice, add_decision
from hjc.serve.store.schema import ads, decisions


def learn_rows(service: Service, served: Served, user: User, rows: Sequence[LearnRow]) -> tuple[int, int]:
    """Keep corrections as ads with a decision, and have them in force; returns how many are new and how many known.

    Raises:
        ValueError: a row without a text, or a code that the tree does not have; nothing is kept then.
    """
    tree, recipe = served.classifier.taxonomy, served.classifier.recipe
    texts = []
    for i, row in enumerate(rows):
        if (row.text is None) == (row.row is None):
            raise ValueError(f"corrections[{i}]: give one of text and row")
        cells = [[row.text]] if row.row is None else row_cells(recipe, [row.row])
        (text,) = recipe.join(cells)
        if not text:
            raise ValueError(f"corrections[{i}]: the text is empty")
        tree.encode(row.codes)
        texts.append(text)
    made: list[int] = []
    with service.store.write() as connection:
        batch = corrections_batch(connection, served.name)
        keys = [f"learn-{row.key or secrets.token_hex(16)}" for row in rows]
        wanted = sa.select(decisions.c.key).where(decisions.c.key.in_(keys))
        known = set(connection.execute(wanted).scalars())
        new = [i for i, key in enumerate(keys) if key not in known and keys.index(key) == i]
        last = connection.execute(sa.select(sa.func.max(ads.c.number)).where(ads.c.batch_id == batch)).scalar() or 0
        made = add_ads(
            connection, batch,
            [{"number": last + n, "text": texts[i], "fields": dict(rows[i].row or {"text": texts[i]}),
              "key": rows[i].key or "", "language": rows[i].language.lower()} for n, i in enumerate(new, 1)],
        )  # fmt: skip
        for i, ad in zip(new, made, strict=True):
            choice = Choice(keys[i], "learn", rows[i].codes)
            add_decision(connection, user, ad, choice, model=served.name, version=served.version)
    if made:
        service.refresh_corrections(made)
    return len(made), len(rows) - len(made)


def retrain(service: Service, served: Served, user: User) -> str:
    """Train the model anew in the background with what was decided; returns the job's name."""

    def work(progress: Callable[[float], None]) -> dict[str, Any]:
        return train_again(service.store, served.directory, progress)

    return service.begin("learn", user, work, model=served.name, directory=str(Path(served.directory)))
