"""Training texts from an imported taxonomy: names, descriptions, tasks, technology and skills with the occupation's
name.

Every candidate text is either written or rejected with a reason, so counts are in = out + rejected for each source.
What a description says about occupations classified elsewhere never becomes a training text of the group: it goes to
a table of hard negatives (see :mod:`hjc.corpus.passages`).
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hjc.corpus.discrimination import GENERIC, IMPORTANT, Discrimination, discrimination
from hjc.corpus.passages import Passages, split_description
from hjc.corpus.shared_labels import SHARED, Candidate, resolve_shared
from hjc.errors import check_choice, name_some
from hjc.files import read_json, write_text
from hjc.tables import format_of, read_table, write_frame
from hjc.tables.options import COMPRESSED, SUFFIXES
from hjc.taxonomy.csvio import UNDETERMINED, read_taxonomy_csv
from hjc.taxonomy.readers.result import KINDS
from hjc.taxonomy.tree import Taxonomy

#: sources in the order in which one is kept where two give the same text for the same code
SOURCES = (
    "title", "alternative", "example", "title_description", "description", "definition", "task", "technology", "tool",
    "skill", "knowledge", "ability",
)  # fmt: skip
_NAMES = {"alternative", "hidden", "reported", "short", "index"}
FEATURES = ("skill", "knowledge", "ability")
#: text with the occupation's name around a feature; the first two as in the bi-encoder's description of O*NET texts
CONTEXT = {
    "technology": "{title} uses technology: {item}",
    "tool": "{title} uses tool: {item}",
    "skill": "{title} needs skill: {item}",
    "knowledge": "{title} needs knowledge of: {item}",
    "ability": "{title} needs ability: {item}",
}
_COLUMNS = ["code", "kind", "language", "text", "detail", "value"]
TEXT_COLUMNS = ("text", "code", "language", "source", "weight")
NEGATIVE_COLUMNS = ("text", "code", "target", "language", "source")


@dataclass(kw_only=True, slots=True)
class TaxonomyTexts:
    """Which texts to make of a taxonomy."""

    #: of SOURCES; [] : all
    sources: list[str] = field(default_factory=list)
    #: []: all
    languages: list[str] = field(default_factory=list)
    #: shorter tasks, descriptions and definitions are rejected
    min_chars: int = 20
    #: rating that a skill, knowledge or ability needs (O*NET: 3 is "important"); those without a rating count
    min_importance: float = IMPORTANT
    #: features with a higher normalised entropy over codes are generic and rejected (1: none)
    generic: float = GENERIC
    #: texts around features in English; in other languages "title: item". "" : the feature alone
    context: dict[str, str] = field(default_factory=lambda: dict(CONTEXT))
    #: the same text for several codes: drop | keep_all (each weighs one share) | most_frequent
    shared: str = "drop"
    #: at most this many texts for a code, language and source; for a code and language (0: no cap)
    max_per_source: int = 0
    max_per_code: int = 0
    #: leaves only, or inner codes as well
    leaves_only: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("shared", self.shared, SHARED)
        for source in self.sources:
            check_choice("sources", source, SOURCES)
        if not 0 <= self.generic <= 1:
            raise ValueError(f"generic: got {self.generic}, allowed are 0 to 1 (a normalised entropy)")
        if min(self.max_per_source, self.max_per_code, self.min_chars) < 0:
            raise ValueError("max_per_source, max_per_code and min_chars: allowed are 0 and above")


class Negative(NamedTuple):
    """A text that is not of ``code``, near it as it is, and the code it belongs to ("" where that is not said)."""

    text: str
    code: str
    target: str
    language: str
    source: str


@dataclass(frozen=True)
class TaxonomyData:
    """Training texts with an account.

    Attributes:
        texts: columns text, code, language, source, weight.
        negatives: columns text, code, target, language, source: ``text`` is not of ``code``.
        rejects: columns text, code, language, source, reason.
        counts: a row for each source: in, out, and rejected by reason.
        discrimination: the measure of features, by kind and language ("skill/en").
        contradicted: passages about other occupations that are no negatives, because the files give the same text to
            the code itself (an alternative label that the scope note excludes).
    """

    texts: pd.DataFrame
    negatives: pd.DataFrame
    rejects: pd.DataFrame
    counts: pd.DataFrame
    discrimination: dict[str, Discrimination]
    contradicted: int = 0

    def write(self, path: str | Path) -> list[Path]:
        """Write the texts (CSV, TSV, Parquet or JSON Lines by the name, ``.gz`` too), and beside them .negatives.csv,
        .rejects.csv.gz and .counts.json.

        Raises:
            ValueError: the name does not tell the format.
        """
        path = Path(path)
        format_of(path, writing=True)  # before anything is written
        path.parent.mkdir(parents=True, exist_ok=True)
        base = _base(path)
        paths = [path, path.with_name(f"{base}.negatives.csv"), path.with_name(f"{base}.rejects.csv.gz")]
        for target, frame in zip(paths, (self.texts, self.negatives, self.rejects), strict=True):
            write_frame(frame, str(target), format_of(target, writing=True))
        paths.append(path.with_name(f"{base}.counts.json"))
        record = {
            "rows_in": int(self.counts["in"].sum()),
            "rows_out": len(self.texts),
            "rejected": len(self.rejects),
            "hard_negatives": len(self.negatives),
            "negatives_contradicted": self.contradicted,
            "by_source": self.counts.set_index("source").astype(int).to_dict("index"),
            "discrimination": {kind: found.records() for kind, found in self.discrimination.items()},
        }
        write_text(paths[-1], json.dumps(record, ensure_ascii=False, indent=1) + "\n")
        return paths


def _base(path: Path) -> str:
    """train.csv.gz -> train: the name without the suffixes that tell the format."""
    name = path.name
    for suffix in reversed(path.suffixes[-2:]):
        if suffix.lower() in (*COMPRESSED, *SUFFIXES):
            name = name[: -len(suffix)]
    return name


def read_imported(directory: str | Path) -> tuple[Taxonomy, pd.DataFrame]:
    """Tree and further texts of a folder that ``hjc taxonomy import`` wrote (or one with a taxonomy.csv alone).

    Raises:
        FileNotFoundError: there is no taxonomy.csv, or the texts that the import report counts are gone.
        ValueError: a table of texts without the columns of one.
    """
    folder = Path(directory)
    if not (folder / "taxonomy.csv").is_file():
        raise FileNotFoundError(f"no taxonomy.csv in {folder}: run hjc taxonomy import KIND PATH -o {folder}")
    tree = read_taxonomy_csv(folder / "taxonomy.csv")
    path = folder / "import_report.json"
    report: dict[str, Any] = {"name": tree.name, "texts": {}}
    if path.is_file():
        report = read_json(path)
    name = report["name"]
    tree = Taxonomy(tree.codes, tree.parents, tree.titles, tree.descriptions, name)
    found = [p for p in (folder / "texts.csv.gz", folder / "texts.csv", folder / "texts.parquet") if p.is_file()]
    if not found:
        if counted := sum(sum(report["texts"].get(kind, {}).values()) for kind in KINDS):
            raise FileNotFoundError(
                f"no texts.csv.gz or texts.parquet in {folder}, but its import_report.json counts {counted:,} texts: "
                "run hjc taxonomy import again, or remove the report if titles and descriptions are enough"
            )
        return tree, pd.DataFrame(columns=_COLUMNS)
    texts = read_table(found[0], separator=",")
    if absent := [name for name in _COLUMNS if name not in texts.columns]:
        raise ValueError(
            f"{found[0]}: no column {name_some(absent)}; columns are {name_some(texts.columns.tolist())}. "
            "The table must be as hjc taxonomy import wrote it"
        )
    return tree, texts


class _Maker:
    """Candidates, negatives and rejects of one taxonomy."""

    def __init__(self, tree: Taxonomy, texts: pd.DataFrame, settings: TaxonomyTexts) -> None:
        self.tree, self.settings = tree, settings
        languages = sorted({*tree.titles, *tree.descriptions, *texts["language"].unique()})
        if absent := [x for x in settings.languages if x not in languages]:
            raise ValueError(f"languages: got {name_some(absent)}, the taxonomy has {', '.join(languages)}")
        self.languages = settings.languages or languages
        self.wanted = set(settings.sources or SOURCES)
        tree.encode(texts["code"].unique().tolist())  # raises for codes of another tree
        self.texts = texts[texts["language"].isin([*self.languages, UNDETERMINED])]
        self.negatives: list[Negative] = []
        self.rejected: list[tuple[Candidate, str]] = []
        self.measures: dict[str, Discrimination] = {}
        self.leaf = {tree.codes[i] for i in tree.leaves.tolist()}

    def candidates(self) -> Iterator[Candidate]:
        """Every text that could be one, before anything is rejected."""
        for language in self.languages:
            for node, code in enumerate(self.tree.codes):
                title = self.tree.titles.get(language, ("",) * len(self.tree))[node]
                description = self.tree.descriptions.get(language, ("",) * len(self.tree))[node]
                if title:
                    yield Candidate(title, code, language, "title")
                if description:
                    yield from self._described(code, language, title, description)
        for row in self.texts.itertuples(index=False):
            code, kind, language = str(row.code), str(row.kind), str(row.language)
            if kind in _NAMES:
                yield Candidate(str(row.text), code, language, "alternative")
            elif kind == "exclusion":
                self._exclude([(str(row.text), str(row.detail))], code, language, "exclusion")
            elif kind in ("definition", "scope_note", "note"):
                parts = self._split(str(row.text), code, language)
                self._exclude([(e.text, e.target) for e in parts.exclusions], code, language, kind)
                if kind == "definition" and parts.text:
                    yield Candidate(parts.text, code, language, "definition")
            elif kind in CONTEXT:
                yield Candidate(str(row.text), code, language, kind, str(row.value))
            elif kind in SOURCES:
                yield Candidate(str(row.text), code, language, kind)

    def _split(self, text: str, code: str, language: str) -> Passages:
        return split_description(text, language, related=lambda other: other.startswith(code) or code.startswith(other))

    def _described(self, code: str, language: str, title: str, description: str) -> Iterator[Candidate]:
        parts = self._split(description, code, language)
        self._exclude([(e.text, e.target) for e in parts.exclusions], code, language, "description")
        text = " ".join(parts.text.split())
        if text:
            yield Candidate(text, code, language, "description")
            if title:
                yield Candidate(f"{title}\n{text}", code, language, "title_description")
        for kind, items in (("task", parts.tasks), ("example", parts.examples)):
            for item in items:
                yield Candidate(item, code, language, kind)

    def _exclude(self, items: Iterable[tuple[str, str]], code: str, language: str, source: str) -> None:
        for text, target in items:
            if text:
                self.negatives.append(
                    Negative(text, code, target if target in self.tree.index_of else "", language, source)
                )

    def measure(self) -> None:
        """Entropy of each skill, knowledge and ability over the codes that have any."""
        for kind in FEATURES:
            rows = self.texts[self.texts["kind"] == kind]
            if len(rows):
                for language, part in rows.groupby("language"):
                    rated = pd.to_numeric(part["value"], errors="coerce").to_numpy(dtype=float)
                    self.measures[f"{kind}/{language}"] = discrimination(
                        part["text"].tolist(), part["code"].tolist(), rated.tolist()
                    )

    def chosen(self) -> list[Candidate]:
        """Candidates of the wanted sources that pass the filters, with the occupation's name around features."""
        settings = self.settings
        generic = {
            (k, f) for k, d in self.measures.items() for f in d.generic(settings.generic) if settings.generic < 1
        }
        kept = []
        for candidate in self.candidates():
            source = candidate.source
            if source not in self.wanted:
                continue
            reason = ""
            if settings.leaves_only and candidate.code not in self.leaf:
                reason = "not a leaf"
            elif source in ("task", "description", "definition") and len(candidate.text) <= settings.min_chars:
                reason = f"not longer than {settings.min_chars} characters"
            elif source in FEATURES and candidate.value and float(candidate.value) < settings.min_importance:
                reason = f"importance below {settings.min_importance:g}"
            elif source in FEATURES and (f"{source}/{candidate.language}", candidate.text) in generic:
                reason = f"generic: entropy above {settings.generic:g}"
            if reason:
                self.rejected.append((candidate, reason))
            else:
                kept.append(candidate._replace(text=self._with_context(candidate)))
        return kept

    def _with_context(self, candidate: Candidate) -> str:
        template = self.settings.context.get(candidate.source, "")
        if not template:
            return candidate.text
        title = self.tree.title(self.tree.index_of[candidate.code], candidate.language)
        if candidate.language not in ("en", UNDETERMINED) and template == CONTEXT.get(candidate.source):
            template = "{title}: {item}"
        return template.replace("{title}", title).replace("{item}", candidate.text)


def texts_from_taxonomy(taxonomy: Taxonomy, texts: pd.DataFrame, settings: TaxonomyTexts | None = None) -> TaxonomyData:
    """Training texts of a taxonomy.

    Args:
        taxonomy: with titles and descriptions.
        texts: columns code, kind, language, text, detail, value (``ImportedTaxonomy.to_frame()`` or
            :func:`read_imported`).
        settings: which texts, filters, policy and caps.

    Raises:
        ValueError: a language that is not there, or not one text is left.
    """
    settings = settings or TaxonomyTexts()
    maker = _Maker(taxonomy, texts, settings)
    maker.measure()
    chosen = maker.chosen()
    total = Counter(c.source for c in chosen) + Counter(c.source for c, _ in maker.rejected)
    rank = {source: i for i, source in enumerate(SOURCES)}
    unique: dict[tuple[str, str, str], Candidate] = {}
    for candidate in sorted(chosen, key=lambda c: rank[c.source]):
        key = (candidate.text.casefold(), candidate.code, candidate.language)
        if key in unique:
            unique[key] = unique[key]._replace(times=unique[key].times + 1)
            maker.rejected.append((candidate, "repeats a text of the same code"))
        else:
            unique[key] = candidate
    kept, weights, lost = resolve_shared(taxonomy, list(unique.values()), settings.shared)
    maker.rejected += lost
    kept, weights, over = _cap(kept, weights, settings, rank)
    maker.rejected += over
    if not kept:
        tried = sum(total.values())
        raise ValueError(f"{taxonomy.name}: no text is left of {tried:,}; see sources, languages and filters")
    frame = pd.DataFrame(
        [(c.text, c.code, c.language, c.source, w) for c, w in zip(kept, weights, strict=True)],
        columns=list(TEXT_COLUMNS),
    )
    rejects = pd.DataFrame(
        [(c.text, c.code, c.language, c.source, reason) for c, reason in maker.rejected],
        columns=["text", "code", "language", "source", "reason"],
    )
    once = {n[:4]: n for n in reversed(maker.negatives)}  # the ILO's definitions say what a table may say again
    own = {(text, code) for text, code, _ in unique}
    other = [n for n in reversed(once.values()) if (n.text.casefold(), n.code) not in own]
    negatives = pd.DataFrame(other, columns=list(NEGATIVE_COLUMNS))
    counts = _counts(total, frame, rejects)
    return TaxonomyData(frame, negatives, rejects, counts, maker.measures, len(once) - len(other))


def _counts(total: Counter[str], frame: pd.DataFrame, rejects: pd.DataFrame) -> pd.DataFrame:
    sources = [s for s in SOURCES if s in total]
    table = pd.DataFrame({"source": sources, "in": [total[s] for s in sources]})
    table["out"] = [int((frame["source"] == s).sum()) for s in sources]
    lost = rejects.groupby(["source", "reason"]).size()
    for reason in rejects["reason"].unique():
        table[reason] = [int(lost.get((s, reason), 0)) for s in sources]
    return table


def _cap(
    kept: list[Candidate], weights: list[float], settings: TaxonomyTexts, rank: dict[str, int]
) -> tuple[list[Candidate], list[float], list[tuple[Candidate, str]]]:
    """At most so many texts for a code and language: sources in their order, drawn by the seed within a source."""
    if not settings.max_per_source and not settings.max_per_code:
        return kept, weights, []
    draw = np.random.default_rng(settings.seed).permutation(len(kept))
    order = sorted(range(len(kept)), key=lambda i: (rank[kept[i].source], draw[i]))
    by_source: Counter[tuple[str, str, str]] = Counter()
    by_code: Counter[tuple[str, str]] = Counter()
    stay, over = [], []
    for i in order:
        c = kept[i]
        if settings.max_per_source and by_source[(c.code, c.language, c.source)] >= settings.max_per_source:
            over.append((c, f"more than {settings.max_per_source} of a source for the code and language"))
        elif settings.max_per_code and by_code[(c.code, c.language)] >= settings.max_per_code:
            over.append((c, f"more than {settings.max_per_code} for the code and language"))
        else:
            by_source[(c.code, c.language, c.source)] += 1
            by_code[(c.code, c.language)] += 1
            stay.append(i)
    stay.sort()
    return [kept[i] for i in stay], [weights[i] for i in stay], over
