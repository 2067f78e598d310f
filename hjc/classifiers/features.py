"""Text -> sparse tf-idf rows for 24 languages, with a state that is stored as JSON and NumPy arrays, never pickled.

Every text takes one way: Unicode normalisation, case folding, tokens (letters, combining marks, digits), n-grams
counted by scikit-learn when fitting and by :mod:`hjc.classifiers.ngrams` after it (the same counts, sooner), sublinear
tf-idf, each block scaled to length 1, blocks side by side, row scaled to length 1.

Defined results at the edges: a text is read up to ``max_chars`` characters; a text without any known n-gram (empty,
punctuation only, unseen vocabulary) gives an empty row, which the classifier answers with the training prior. Markup
is text like any other here: its tags become tokens unless the data layer has removed them.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hjc.arrays import Float32, FloatArray, IntArray, spans
from hjc.classifiers.compiled import COMPILED
from hjc.classifiers.linear_settings import LinearSettings
from hjc.classifiers.ngrams import CharNgrams, NgramTable, WordNgrams
from hjc.classifiers.sparse_rows import SparseRows
from hjc.classifiers.storage import load_array
from hjc.classifiers.text_words import Spelling, Words, words_of
from hjc.files import read_json

if TYPE_CHECKING:
    from scipy import sparse

#: n-grams of the words of texts that are laid out in memory together: what fits into the processor's cache
_CELLS = 1 << 16
FEATURES_FILE = "features.json"

_ISO_639_1 = {
    "ar": "arabic", "hy": "armenian", "eu": "basque", "ca": "catalan", "cs": "czech", "da": "danish", "nl": "dutch",
    "en": "english", "eo": "esperanto", "et": "estonian", "fi": "finnish", "fr": "french", "de": "german",
    "el": "greek", "hi": "hindi", "hu": "hungarian", "id": "indonesian", "ga": "irish", "it": "italian",
    "lt": "lithuanian", "ne": "nepali", "no": "norwegian", "nb": "norwegian", "nn": "norwegian", "fa": "persian",
    "pl": "polish", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sr": "serbian", "es": "spanish",
    "sv": "swedish", "ta": "tamil", "tr": "turkish", "yi": "yiddish",
}  # fmt: skip


def make_stemmer(language: str) -> Callable[[str], str]:
    """word -> stem by Snowball, remembered per word.

    Raises:
        ValueError: the library has no stemmer for the language.
        ImportError: the `stemming` extra is not installed.
    """
    snowball, name = _snowball(language), _ISO_639_1.get(language.lower(), language.lower())
    if not has_stemmer(language):
        raise ValueError(
            f"model.stemming: got {language!r}, allowed are {', '.join(sorted(snowball.algorithms()))}, "
            "their two-letter codes, or '' for none"
        )
    return cache(snowball.stemmer(name).stemWord)


def has_stemmer(language: str) -> bool:
    """Whether :func:`make_stemmer` has one. Raises ImportError as it does."""
    return _ISO_639_1.get(language.lower(), language.lower()) in _snowball(language).algorithms()


def _snowball(language: str) -> Any:
    try:
        import snowballstemmer
    except ImportError as error:
        raise ImportError(
            f"model.stemming={language!r} needs the package snowballstemmer: pip install 'hjc[stemming]'"
        ) from error
    return snowballstemmer


def _itself(tokens: list[str]) -> list[str]:
    return tokens


class Block:
    """One kind of n-grams of one field (the whole text or its first line), as columns of their own."""

    def __init__(self, settings: LinearSettings, *, field: str, kind: str) -> None:
        self.field, self.kind = field, kind
        self.name = f"{field}_{kind}"
        self.weight = settings.lead_weight if field == "lead" else 1.0
        self._sublinear = settings.sublinear_tf
        low, high = self._span = settings.word_ngrams if kind == "word" else settings.char_ngrams
        common: dict[str, Any] = {"ngram_range": (low, high), "lowercase": False, "dtype": np.float32}
        if kind == "word":  # a "text" is a list of tokens, so splitting is all that is left to do
            common |= {"analyzer": "word", "tokenizer": _itself, "preprocessor": _itself, "token_pattern": None}
        else:  # a "text" is one token
            common |= {"analyzer": "char_wb"}  # blanks stand for a token's edges
        self._hashed = settings.hashing > 0
        self._min_df, self._max_features = settings.min_df, settings.max_features
        self._columns, self._options = settings.hashing, common
        self.known: CharNgrams | WordNgrams | None = None  #: of texts for words, of single tokens for characters
        self.idf = np.zeros(0, dtype=np.float32)

    @cached_property
    def _counter(self) -> Any:
        """scikit-learn's counter: of hashed n-grams, and of a vocabulary that is not known yet."""
        from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer  # half a second

        if self._hashed:
            return HashingVectorizer(n_features=self._columns, alternate_sign=False, norm=None, **self._options)
        return CountVectorizer(**self._options)

    @cached_property
    def terms(self) -> dict[str, int]:
        """Term -> column; empty when hashed."""
        return {} if self.known is None else {term: i for i, term in enumerate(self.known.terms)}

    @property
    def vocabulary(self) -> list[str] | None:
        """Terms in column order; None when hashed."""
        return None if self._hashed else list(self.terms)

    def _learn(self, words: Words) -> "sparse.csr_matrix":
        """Counts of the n-grams of training texts, whose vocabulary is found on the way."""
        count = self._counter.transform if self._hashed else self._counter.fit_transform
        if self.kind == "word":
            return count(words.lists())
        from scipy import sparse

        cells = (np.ones(len(words.flat), np.float32), words.flat, words.ends)
        occurrences = sparse.csr_matrix(cells, shape=(len(words.ends) - 1, max(1, len(words.known))))
        return sparse.csr_matrix(occurrences @ count(words.known or [""]))

    def _count(self, words: Words) -> SparseRows:
        """Counts of known n-grams. Characters: each distinct word is cut once."""
        known: Any = self.known
        if known is None:
            return SparseRows.of(self._learn(words))
        if self.kind == "word":
            return known(words)
        flat, ends = words.flat, words.ends
        grams: SparseRows = known(words.known)
        times = grams.data.astype(np.int64)  # a word may have an n-gram twice
        column = np.repeat(grams.indices, times)
        begin = np.concatenate([[0], np.cumsum(times)])[grams.indptr]
        size = np.diff(begin)[flat]
        upto = np.concatenate([[0], np.cumsum(size)])[ends]  # cells before each text
        parts, start = [], 0
        while start < len(ends) - 1:
            stop = max(start + 1, int(np.searchsorted(upto, upto[start] + _CELLS, "right")) - 1)
            word, n = (x[ends[start] : ends[stop]] for x in (flat, size))
            place = spans(begin[word], begin[word] + n)
            owner = np.repeat(np.arange(stop - start), np.diff(upto[start : stop + 1]))
            parts.append(SparseRows.counted(owner, column[place], stop - start, grams.width))
            start = stop
        return SparseRows.stacked(parts) if parts else grams

    def shares(self, plain: list[str], counted: list[str], rows: int) -> "sparse.csr_matrix":
        """(rows, columns): how much of each n-gram of one text is counted from each of its words.

        plain: the words; counted: what stands for them here (stems, in the word block). An n-gram of several words is
        shared out equally.
        """
        from scipy import sparse

        if self.kind == "char":
            apart = Words(plain, np.arange(len(plain)), np.arange(len(plain) + 1))
            grams = self._count(apart).scipy() if plain else sparse.csr_matrix((0, len(self.idf)))
            return sparse.csr_matrix(sparse.vstack([grams, sparse.csr_matrix((rows - len(plain), len(self.idf)))]))
        low, high = self._span
        spans = [(i, size) for size in range(low, high + 1) for i in range(len(counted) - size + 1)]
        found = [(i, size, c) for i, size in spans if (c := self._column(" ".join(counted[i : i + size]))) >= 0]
        cells = [(row, column, 1.0 / size) for i, size, column in found for row in range(i, i + size)]
        row, column, value = zip(*cells, strict=True) if cells else ((), (), ())
        return sparse.csr_matrix((value, (row, column)), shape=(rows, len(self.idf)))

    def _column(self, term: str) -> int:
        """The column of a word n-gram, -1 where it has none."""
        if not self._hashed:
            return self.terms.get(term, -1)
        from sklearn.feature_extraction import FeatureHasher

        hashed = FeatureHasher(len(self.idf), input_type="string", alternate_sign=False).transform([[term]])
        return int(hashed.indices[0])

    def fit(self, words: Words) -> SparseRows:
        n = len(words.ends) - 1
        try:
            counts = self._learn(words)
        except ValueError as error:
            if "empty vocabulary" not in str(error):
                raise
            raise self._nothing_left(n) from error
        df = np.bincount(counts.indices, minlength=counts.shape[1])
        if not self._hashed:
            counts, df = self._prune(counts, df)
        # scikit-learn's smooth idf: ln((1 + n) / (1 + df)) + 1
        self.idf = (np.log((1 + n) / (1 + df)) + 1).astype(np.float32)
        return self._weigh(SparseRows.of(counts))

    def _nothing_left(self, n: int) -> ValueError:
        return ValueError(
            f"no {self.kind} n-gram stands in at least model.min_df={self._min_df} of the {n} training texts: "
            "lower model.min_df or check the text columns"
        )

    def _prune(self, counts: "sparse.csr_matrix", df: IntArray) -> tuple["sparse.csr_matrix", IntArray]:
        """Drop rare n-grams; of the rest keep the ``max_features`` of highest document frequency (ties: by term)."""
        keep = np.flatnonzero(df >= self._min_df)
        if not len(keep):
            raise self._nothing_left(counts.shape[0])
        found = self._counter.vocabulary_
        terms = sorted(found, key=found.__getitem__)
        if self._max_features and len(keep) > self._max_features:
            keep = np.sort(keep[np.argsort(-df[keep], kind="stable")][: self._max_features])
        self._index([terms[column] for column in keep.tolist()])
        return counts[:, keep], df[keep]

    def _index(self, terms: list[str]) -> None:
        self.terms = {term: i for i, term in enumerate(terms)}
        self.known = (WordNgrams if self.kind == "word" else CharNgrams).of_terms(terms, *self._span)

    def transform(self, words: Words, loops: Any = None) -> SparseRows:
        """Weighed counts of known n-grams. loops: :mod:`hjc.classifiers.loops`, or None."""
        if loops is None or self.known is None:
            return self._weigh(self._count(words))
        counts, most = self.known.by_loops(words, loops), 4096
        while True:  # until no count is above those that are weighed
            weighed = self._weight_of(np.arange(most, dtype=np.float32))
            indptr, indices, data, most = loops.weighed(*counts, weighed, self.idf, self.weight)
            if most == 0:
                return SparseRows(indptr, indices, data, len(self.idf))
            most += 1

    def restore(self, vocabulary: list[str] | None, idf: FloatArray) -> None:
        if vocabulary is not None:
            self._index(vocabulary)
        self.idf = np.asarray(idf, dtype=np.float32)

    def restore_table(self, symbols: Any, table: NgramTable, idf: FloatArray) -> None:
        """As :meth:`restore`, from the parts of ``known``."""
        self.known = (WordNgrams if self.kind == "word" else CharNgrams)(symbols, table, *self._span)
        self.idf = np.asarray(idf, dtype=np.float32)

    def _weight_of(self, counts: Float32) -> Float32:
        """Of how often an n-gram stands in a text; without meaning for 0."""
        return 1 + np.log(np.maximum(counts, 1)) if self._sublinear else counts

    def _weigh(self, counts: SparseRows) -> SparseRows:
        values = self._weight_of(counts.data)
        return replace(counts, data=values * self.idf[counts.indices]).scaled(self.weight)


class TextFeatures:
    """Fitted text features: ``fit`` on training texts, ``transform`` on any, ``save`` and ``load``."""

    def __init__(self, settings: LinearSettings) -> None:
        self.settings = settings
        kinds = ("word", "char") if settings.features == "both" else (settings.features,)
        fields = ("text", "lead") if settings.lead_weight > 0 else ("text",)
        self.blocks = [Block(settings, field=f, kind=k) for f in fields for k in kinds]
        self._stem = make_stemmer(settings.stemming) if settings.stemming and "word" in kinds else None

    @property
    def num_features(self) -> int:
        """F: number of columns."""
        return sum(len(b.idf) for b in self.blocks)

    def _words(self, texts: Sequence[str], loops: Any = None) -> dict[str, Words]:
        """The words of each text, and of the first line of each, not stemmed."""
        s = self.settings
        for position, text in enumerate(texts):
            if not isinstance(text, str):
                raise TypeError(f"texts[{position}]: got {type(text).__name__}, allowed are strings (an empty one too)")
        cut = [text[: s.max_chars] for text in texts] if s.max_chars else texts
        words, leads = words_of(cut, Spelling(s.normal_form, s.casefold, s.dotless_i, s.tonos), loops)
        return {"text": words, "lead": words.first(leads)} if s.lead_weight > 0 else {"text": words}

    def _counted(self, words: Words, kind: str) -> Words:
        """What a block of this kind counts for words."""
        return words if self._stem is None or kind == "char" else replace(words, known=[*map(self._stem, words.known)])

    def tokens(self, text: str) -> list[str]:
        """The words of a text, normalised, not stemmed."""
        return self._words([text])["text"].lists()[0]

    def block_tokens(self, text: str, block: Block) -> tuple[list[str], list[str]]:
        """The words of a block's field, and what it counts for them."""
        words = self._words([text])[block.field]
        return words.lists()[0], self._counted(words, block.kind).lists()[0]

    def _prepared(self, texts: Sequence[str], loops: Any = None) -> Iterator[tuple[Block, Words]]:
        words = self._words(texts, loops)
        for block in self.blocks:
            yield block, self._counted(words[block.field], block.kind)

    def fit(self, texts: Sequence[str]) -> SparseRows:
        """(n, F) rows of the training texts.

        Raises:
            ValueError: no n-gram is frequent enough.
        """
        return SparseRows.beside([block.fit(found) for block, found in self._prepared(texts)]).scaled()

    def fit_transform(self, texts: Sequence[str]) -> "sparse.csr_matrix":
        """:meth:`fit`, rows as SciPy's matrix."""
        return self.fit(texts).scipy()

    def rows(self, texts: Sequence[str]) -> SparseRows:
        """(b, F) rows of texts; a text without known n-grams gives an empty row."""
        if (loops := COMPILED.after(texts)) is not None:
            try:
                return self._rows(texts, loops)
            except loops.NotCompiledError as error:
                COMPILED.leave_out(f"cannot be compiled ({error})")
        return self._rows(texts)

    def _rows(self, texts: Sequence[str], loops: Any = None) -> SparseRows:
        parts = [block.transform(found, loops) for block, found in self._prepared(texts, loops)]
        return SparseRows.beside(parts, loops).scaled(loops=loops)

    def transform(self, texts: Sequence[str]) -> "sparse.csr_matrix":
        """:meth:`rows` as SciPy's matrix."""
        return self.rows(texts).scipy()

    @cached_property
    def _known_words(self) -> frozenset[str] | None:
        block = next((b for b in self.blocks if b.kind == "word" and b.field == "text"), None)
        terms = block.vocabulary if block is not None else None
        return None if terms is None or self.settings.word_ngrams[0] > 1 else frozenset(terms)

    def oov_share(self, text: str) -> float:
        """Share of a text's words that are no features, 0 to 1; 0 where words are hashed or only characters counted."""
        if (known := self._known_words) is None:
            return 0.0
        words = self._counted(self._words([text])["text"], "word").lists()[0]
        return sum(word not in known for word in words) / len(words) if words else 0.0

    def save(self, directory: Path) -> None:
        """Write features.json (vocabularies) and one idf_BLOCK.npy a block."""
        state = {"blocks": [{"name": b.name, "columns": len(b.idf), "terms": b.vocabulary} for b in self.blocks]}
        # ASCII with escapes: a vocabulary may hold lone surrogates, which UTF-8 cannot
        (directory / FEATURES_FILE).write_text(json.dumps(state, ensure_ascii=True), encoding="ascii")
        for block in self.blocks:
            np.save(directory / f"idf_{block.name}.npy", block.idf, allow_pickle=False)

    @classmethod
    def load(cls, directory: Path, settings: LinearSettings) -> "TextFeatures":
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: the files do not fit each other or the settings.
        """
        features = cls(settings)
        state = read_json(directory / FEATURES_FILE)
        stored = {b["name"]: b for b in state["blocks"]}
        if list(stored) != [b.name for b in features.blocks]:
            raise ValueError(
                f"{directory / FEATURES_FILE}: holds the blocks {', '.join(stored)}, "
                f"the settings ask for {', '.join(b.name for b in features.blocks)}"
            )
        for block in features.blocks:
            idf = load_array(directory / f"idf_{block.name}.npy")
            terms = stored[block.name]["terms"]
            expected = settings.hashing if terms is None else len(terms)
            if idf.shape != (expected,):
                raise ValueError(f"{directory}: block {block.name} has {expected} terms but idf of shape {idf.shape}")
            if not all(isinstance(term, str) for term in terms or ()):
                raise ValueError(f"{directory / FEATURES_FILE}: block {block.name} has terms that are no text")
            block.restore(terms, idf)
        return features


def word_vectors(corpus: Sequence[str]) -> TextFeatures:
    """Tf-idf features made on a corpus, for classifiers without vectors: ``.transform(texts)``."""
    features = TextFeatures(LinearSettings(min_df=1, lead_weight=0.0, features="word"))
    features.fit(list(corpus))
    return features
