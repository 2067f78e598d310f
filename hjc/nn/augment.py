"""Training texts as they might be written: words, a field or all marks left out, typing errors. Every epoch anew."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from hjc.data.letters import plain_letters
from hjc.data.side import SideText, side_of
from hjc.nn.settings import NOISE, TrainerSettings

#: words shorter than this get no typing error: a letter less is another word
SHORT = 4


@dataclass(frozen=True)
class Noise:
    """How texts are changed, each with a probability from 0 to below 1.

    Args:
        word_dropout: of each word, to be left out; one word of a text always stays.
        typos: of each word of four characters and more, to get one typing error (two neighbours swapped, a character
            lost, or one doubled).
        field_dropout: of each text with more than one line, to lose its first line or all the others, by coin: the
            first line is the title, as the recipe assembles texts.
        plain_letters: of each text, to lose the marks of its letters, see :func:`hjc.data.letters.plain_letters`.
    """

    word_dropout: float = 0.0
    typos: float = 0.0
    field_dropout: float = 0.0
    plain_letters: float = 0.0

    @classmethod
    def of(cls, settings: TrainerSettings) -> Self:
        return cls(**{name: getattr(settings, name) for name in NOISE})

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in NOISE)

    def texts(self, texts: Sequence[str], seed: int, epoch: int, most: int) -> list[str]:
        """n texts, changed as ``seed`` and ``epoch`` say; of each the first ``most`` words are looked at, and kept."""
        random = np.random.default_rng([seed, epoch, 2])
        found = [self._text(text, random, most) for text in texts]
        return [SideText(new, side) if (side := side_of(old)) else new for old, new in zip(texts, found, strict=True)]

    def _text(self, text: str, random: np.random.Generator, most: int) -> str:
        if self.plain_letters and random.random() < self.plain_letters:
            text = plain_letters(text)
        lines = [words for line in text.splitlines() if (words := line.split())]
        if self.field_dropout and len(lines) > 1 and random.random() < self.field_dropout:
            lines = lines[:1] if random.random() < 0.5 else lines[1:]
        kept: list[str] = []
        for words in lines:
            words = words[:most]
            most -= len(words)
            if self.word_dropout and words:
                stays = random.random(len(words)) >= self.word_dropout
                stays[random.integers(len(words))] |= not kept and not stays.any()
                words = [word for word, stay in zip(words, stays, strict=True) if stay]
            if self.typos and words:
                hit = random.random(len(words)) < self.typos
                words = [typo(w, random) if h else w for w, h in zip(words, hit, strict=True)]
            if words:
                kept.append(" ".join(words))
            if most <= 0:
                break
        return "\n".join(kept)


def typo(word: str, random: np.random.Generator) -> str:
    """The word with one typing error behind its first character; short words as they are."""
    if len(word) < SHORT:
        return word
    i = int(random.integers(1, len(word) - 1))
    kind = int(random.integers(3))
    if kind == 0:
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    return word[:i] + word[i + 1 :] if kind == 1 else word[: i + 1] + word[i:]
