"""Translation of texts with a local model: segments, batches, a cache that survives a kill, nothing cut silently.

The back ends are :class:`hjc.corpus.argos.ArgosTranslator` (Argos Translate packages) and
:class:`hjc.nn.seq2seq.Seq2SeqTranslator` (Hugging Face models such as opus-mt or NLLB); anything with the methods of
:class:`Translator` will do. Texts are cut into segments that fit the model, at line breaks, then sentences, then
words; white space and lines without letters stay as they are, so that a translated ad keeps its shape.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hjc.corpus.cache import AnswerCache, request_key
from hjc.errors import name_some

_SENTENCE_END = re.compile(r"(?<=[.!?;:…])\s+")
_BLANK = re.compile(r"\s+")


@dataclass(frozen=True)
class Translation:
    """What a model made of a segment. ``complete`` is False where it stopped at its length limit."""

    text: str
    complete: bool = True


class Translator(Protocol):
    """A back end.

    Attributes:
        name: for messages.
        fingerprint: changes whenever the same segment may be translated differently (files, beams); part of cache keys.
        max_tokens: the longest segment it takes.
    """

    name: str
    fingerprint: str
    max_tokens: int

    def supports(self, source: str, target: str) -> bool:
        """Whether it translates from one language to another (ISO 639-1 codes such as ``pl``)."""
        ...

    def count_tokens(self, texts: Sequence[str], source: str, target: str) -> list[int]:
        """The length of each text in tokens of the model, special tokens included."""
        ...

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[Translation]:
        """One batch, in its order. Every text fits ``max_tokens``."""
        ...


def choose_translator(translators: Iterable[Translator], source: str, target: str) -> Translator | None:
    """The first back end for a pair of languages, None where there is none."""
    return next((t for t in translators if t.supports(source, target)), None)


def split_segments(text: str, count: Callable[[Sequence[str]], list[int]], limit: int) -> list[tuple[str, bool]]:
    """``(piece, whether it is to be translated)``; the pieces put together are the text.

    Args:
        count: tokens of each of several texts.
        limit: tokens of the longest segment; a longer one is cut at the sentence end nearest its middle, else at the
            white space nearest its middle, else in its middle, until its parts fit.
    """
    pieces: list[tuple[str, bool]] = []
    open_: list[tuple[str, bool]] = []
    for part in re.split(r"([\r\n]+)", text):
        core = part.strip()
        if not any(map(str.isalpha, core)):
            open_.append((part, False))
            continue
        start = part.index(core)
        open_ += [(part[:start], False), (core, True), (part[start + len(core) :], False)]
    lengths = iter(count([piece for piece, wanted in open_ if wanted]))
    for piece, wanted in open_:
        pieces += _fit(piece, next(lengths), count, limit) if wanted else [(piece, False)]
    return [(piece, wanted) for piece, wanted in pieces if piece]


def _fit(text: str, length: int, count: Callable[[Sequence[str]], list[int]], limit: int) -> list[tuple[str, bool]]:
    if length <= limit or len(text) == 1:
        return [(text, any(map(str.isalpha, text)))]
    middle = len(text) / 2
    for pattern in (_SENTENCE_END, _BLANK):
        cuts = [m.span() for m in pattern.finditer(text) if m.start() > 0 and m.end() < len(text)]
        if cuts:
            start, stop = min(cuts, key=lambda c: abs((c[0] + c[1]) / 2 - middle))
            break
    else:
        start = stop = len(text) // 2
    left, right = text[:start], text[stop:]
    first, second = count([left, right])
    blank = [(text[start:stop], False)] if stop > start else []
    return [*_fit(left, first, count, limit), *blank, *_fit(right, second, count, limit)]


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def translate_texts(
    texts: Sequence[str],
    translator: Translator,
    source: str,
    target: str,
    *,
    cache: AnswerCache | None = None,
    batch_size: int = 32,
    advance: Callable[[int], None] | None = None,
) -> list[Translation]:
    """Each text translated, in order; ``complete`` is False where the model stopped early in one of its segments.

    Equal segments are translated once, in batches of similar length. What the cache has is not translated again.

    Args:
        batch_size: segments of a batch.
        advance: called with the number of segments after every batch.

    Raises:
        ValueError: the back end does not know the languages, or gives another number of translations than texts.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size: got {batch_size}, allowed are integers from 1")
    if not translator.supports(source, target):
        raise ValueError(f"{translator.name} does not translate from {source!r} to {target!r}")
    cache = cache if cache is not None else AnswerCache()

    def count(parts: Sequence[str]) -> list[int]:
        return translator.count_tokens(parts, source, target) if parts else []

    cut = {text: split_segments(_storable(text), count, translator.max_tokens) for text in dict.fromkeys(texts)}
    keys = {
        piece: request_key(translator.fingerprint, source, target, piece)
        for pieces in cut.values()
        for piece, wanted in pieces
        if wanted
    }
    known = {key: Translation(*answer) for key, answer in cache.get(list(keys.values())).items()}
    todo = sorted((piece for piece, key in keys.items() if key not in known), key=lambda p: (len(p), p))
    for i in range(0, len(todo), batch_size):
        batch = todo[i : i + batch_size]
        found = translator.translate(batch, source, target)
        if len(found) != len(batch):
            raise ValueError(f"{translator.name} gave {len(found)} translations for {len(batch)} texts")
        new = {keys[piece]: t for piece, t in zip(batch, found, strict=True)}
        cache.put({key: (t.text, t.complete) for key, t in new.items()})
        known.update(new)
        if advance is not None:
            advance(len(batch))
    done = {
        text: Translation(
            "".join(known[keys[piece]].text if wanted else piece for piece, wanted in pieces),
            all(known[keys[piece]].complete for piece, wanted in pieces if wanted),
        )
        for text, pieces in cut.items()
    }
    return [done[text] for text in texts]


def file_fingerprint(folder: Path, names: Iterable[str], *settings: object) -> str:
    """SHA-256 (hex) of files and settings.

    Raises:
        FileNotFoundError: none of the files is there.
    """
    digest = hashlib.sha256(repr(settings).encode())
    found = [folder / name for name in sorted(names) if (folder / name).is_file()]
    if not found:
        raise FileNotFoundError(f"{folder} has none of {name_some(names)}")
    for path in found:
        digest.update(f"{path.relative_to(folder)}:{path.stat().st_size};".encode())
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
