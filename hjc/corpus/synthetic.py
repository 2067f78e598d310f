"""Titles and short ads for codes without rows, written by a chat model; marked, and no copies of test rows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hjc.data.splits import SYNTHETIC
from hjc.data.splitting import near_to, text_key
from hjc.taxonomy import Taxonomy

COLUMNS = ("text", "title", "body", "code", "language", "source", "weight")
#: what a text may be at most; longer answers are no short ads
MAX_TITLE, MAX_BODY = 120, 1500


def codes_without_rows(taxonomy: Taxonomy, codes: Sequence[str], least: int = 1) -> list[int]:
    """Leaf nodes with fewer than ``least`` of these rows' codes, unknown codes aside."""
    count = Counter(codes)
    return [node for node in taxonomy.leaves.tolist() if count[taxonomy.codes[node]] < least]


@dataclass(frozen=True)
class Written:
    """Rows that may be trained on, and how many were refused, by reason."""

    rows: pd.DataFrame
    refused: Counter[str]


def checked(
    answers: Sequence[tuple[str, Sequence[dict[str, Any]]]],
    protected: Sequence[str],
    *,
    language: str,
    weight: float,
    threshold: float = 0.8,
) -> Written:
    """The texts of answers without those that are empty, too long, written twice, or (nearly) a test row.

    Args:
        answers: (code, its ads) with ``title`` and ``text``.
        protected: texts of validation and test rows, whole and their titles.
        threshold: tf-idf cosine of words from which a text is a near-duplicate of a protected one.
    """
    refused: Counter[str] = Counter()
    kept: list[tuple[str, str, str, str]] = []
    seen: set[str] = set()
    for code, ads in answers:
        for ad in ads:
            title, body = " ".join(str(ad["title"]).split()), " ".join(str(ad["text"]).split())
            if not any(map(str.isalpha, title)):
                refused["no title"] += 1
            elif len(title) > MAX_TITLE or len(body) > MAX_BODY:
                refused["too long"] += 1
            elif (key := text_key(f"{title}\n{body}")) in seen:
                refused["written twice"] += 1
            else:
                seen.add(key)
                kept.append((f"{title}\n{body}".strip(), title, body, code))
    whole, titles = near_to([text for text, *_ in kept], protected, threshold), [title for _, title, *_ in kept]
    near = set(np.flatnonzero(whole | near_to(titles, protected, threshold)).tolist())
    refused["near-duplicate of a test row"] += len(near)
    rows = [(*row, language, SYNTHETIC, weight) for i, row in enumerate(kept) if i not in near]
    return Written(pd.DataFrame(rows, columns=list(COLUMNS)), +refused)
