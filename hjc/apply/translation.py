"""Tables of texts translated a few thousand rows at a time: the body of ``hjc data translate``."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hjc.apply.loop import Columns, Part, Progress, Summary, write_parts
from hjc.corpus.cache import AnswerCache
from hjc.corpus.translate import Translator, choose_translator, translate_texts
from hjc.data.recipe import OK, present
from hjc.tables import Reader, Writer

EMPTY = "empty"
SAME = "same language"
NO_LANGUAGE = "no language"
CUT = "cut: the model reached its length limit"


@dataclass
class TranslationSummary(Summary):
    """Also: texts by status, and segments that went through a model (the others were in the cache or repeated)."""

    texts: Counter[str] = field(default_factory=Counter)
    segments: int = 0

    def message(self) -> str:
        texts = ", ".join(f"{n:,} {status}" for status, n in self.texts.most_common())
        segments = f"{self.segments:,} segments translated"
        return f"{self.rows:,} rows in {self.seconds:.1f} s; {segments}; texts: {texts or 'none'}"


@dataclass(frozen=True)
class TranslationPlan:
    """What is translated. For each text column and target language ``title`` -> ``title_en``, and
    ``title_en_status``: ok, same language (copied), empty, no language, no model for a pair, or that it was cut.

    Args:
        columns: text columns.
        targets: ISO 639-1 codes.
        language_column: with the language of each row; "" when all rows are in ``language``.
    """

    columns: tuple[str, ...]
    targets: tuple[str, ...]
    language: str = ""
    language_column: str = ""

    def __post_init__(self) -> None:
        if not self.columns or not self.targets:
            raise ValueError("name at least one text column and one target language")
        if bool(self.language) == bool(self.language_column):
            raise ValueError("say the language of the texts: one for all rows, or the column that has it")

    @property
    def read(self) -> Columns:
        """What is read of a table."""
        return Columns(language=self.language_column or None, more=self.columns)

    @property
    def new_columns(self) -> dict[str, str]:
        names = [f"{column}_{target}" for target in self.targets for column in self.columns]
        return {new: "text" for name in names for new in (name, f"{name}_status")}


def base_language(text: str | None) -> str:
    """``pl`` of ``pl``, ``PL`` and ``pl-PL``; "" where there is none."""
    return present(text).replace("_", "-").split("-")[0].lower()


def translate_column(
    texts: Sequence[str | None],
    languages: Sequence[str],
    target: str,
    translators: Sequence[Translator],
    cache: AnswerCache,
    *,
    batch_size: int = 32,
    advance: Callable[[int], None] | None = None,
) -> tuple[list[str | None], list[str]]:
    """``(translations, statuses)`` of a column of texts; None where there is no translation."""
    out: list[str | None] = [None] * len(texts)
    status = [""] * len(texts)
    pairs: dict[str, list[int]] = {}
    for i, (text, language) in enumerate(zip(texts, languages, strict=True)):
        if not present(text):
            status[i] = EMPTY
        elif not language:
            status[i] = NO_LANGUAGE
        elif language == target:
            out[i], status[i] = text, SAME
        else:
            pairs.setdefault(language, []).append(i)
    for language, rows in pairs.items():
        translator = choose_translator(translators, language, target)
        if translator is None:
            for i in rows:
                status[i] = f"no model from {language} to {target}"
            continue
        wanted = [texts[i] or "" for i in rows]
        found = translate_texts(
            wanted, translator, language, target, cache=cache, batch_size=batch_size, advance=advance
        )  # fmt: skip
        for i, translation in zip(rows, found, strict=True):
            out[i] = translation.text
            status[i] = OK if translation.complete else CUT
    return out, status


def translate_table(
    reader: Reader,
    writer: Writer,
    plan: TranslationPlan,
    translators: Sequence[Translator],
    cache: AnswerCache,
    *,
    summary: TranslationSummary,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> None:
    """Write every row as it was with its translations beside it, never holding more than one chunk.

    What a killed run had translated is in the cache: the next run takes it from there and goes on.

    Raises:
        ValueError: a column does not exist.
    """

    def advance(segments: int) -> None:
        summary.segments += segments
        if progress is not None:
            progress(summary)

    def new(part: Part) -> dict[str, list[Any]]:
        languages = [base_language(x) for x in part.languages or [plan.language] * len(part)]
        out: dict[str, list[Any]] = {}
        for target in plan.targets:
            for name in plan.columns:
                column, status = translate_column(
                    part.cells[name], languages, target, translators, cache, batch_size=batch_size, advance=advance
                )
                out[f"{name}_{target}"], out[f"{name}_{target}_status"] = column, status
                summary.texts.update(status)
        return out

    write_parts(reader, writer, plan.read, new, summary, progress)
