"""The texts that a model was trained on: neighbours of an ad, and other words for a code."""

import threading
from weakref import WeakKeyDictionary

from hjc.data import JobData
from hjc.explain.training_rows import training_rows
from hjc.serve.models import Served
from hjc.serve.taxonomy import Example, Search

#: characters of a text that can be a name for a code; such texts of a model, at most
NAME, NAMES = 60, 50_000
#: of each model: its training texts, read once, and the index of its tree; they go when it goes
_TEXTS: WeakKeyDictionary[Served, tuple[JobData | None, str]] = WeakKeyDictionary()
_SEARCHES: WeakKeyDictionary[Served, Search] = WeakKeyDictionary()
_LOCK = threading.Lock()


def training_texts(served: Served) -> tuple[JobData | None, str]:
    """The rows that a model was trained on, where they are still there; else None and the reason."""
    with _LOCK:
        if served not in _TEXTS:
            try:
                _TEXTS[served] = training_rows(served.directory, served.classifier.taxonomy), ""
            except (ValueError, OSError) as error:
                _TEXTS[served] = None, f"no nearest training texts: {error}"
        return _TEXTS[served]


def search_of(served: Served) -> Search:
    """The index of the model's tree, made once; short training texts (titles of jobs) are found as well."""
    rows, _ = training_texts(served)
    with _LOCK:
        if served not in _SEARCHES:
            _SEARCHES[served] = Search(served.classifier.taxonomy, [] if rows is None else _names(rows))
        return _SEARCHES[served]


def _names(rows: JobData) -> list[Example]:
    spoken = rows.language if len(rows.language) else [""] * len(rows)
    found = (
        (int(node), language, text)
        for node, language, text in zip(rows.gold.tolist(), spoken, rows.texts, strict=True)
        if len(text) <= NAME
    )
    return list(dict.fromkeys(found))[:NAMES]
