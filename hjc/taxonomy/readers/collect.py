"""Collects codes and texts row by row, then makes a tree of what fits and accounts for what does not."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hjc.errors import TaxonomyError
from hjc.taxonomy.build import edge_problems, from_edges
from hjc.taxonomy.readers.result import FileCount, ImportedTaxonomy, ImportReport, Reject, Text
from hjc.taxonomy.readers.sheets import Sheet, simple, tidy
from hjc.taxonomy.spelling import neighbour_guess, repair_codes, trim, whole_number
from hjc.taxonomy.tree import Taxonomy

_DATE = re.compile(r"\d{4}-\d\d-\d\d(T00:00:00)?")
_SHOWN = 120
#: values of a level column that are a number of digits
_LEVELS = ("1", "2", "3", "4", "5")


@dataclass
class _Node:
    parent: str
    sheet: Sheet | None
    row: int


@dataclass
class Collector:
    """Nodes and texts on their way to an :class:`ImportedTaxonomy`.

    Attributes:
        kind: the reader.
        name: what the tree is called.
        languages: only these ([]: all); other texts count as skipped.
        found: languages that any text of the files is in, asked for or not.
    """

    kind: str
    name: str
    languages: tuple[str, ...] = ()
    report: ImportReport = field(init=False)
    nodes: dict[str, _Node] = field(default_factory=dict)
    titles: dict[str, dict[str, str]] = field(default_factory=dict)
    descriptions: dict[str, dict[str, str]] = field(default_factory=dict)
    found: set[str] = field(default_factory=set)
    texts: list[tuple[Text, int, int]] = field(default_factory=list)  # text, sheet number, row
    _sheets: list[Sheet] = field(default_factory=list)
    _roles: list[str] = field(default_factory=list)
    _index: dict[int, int] = field(default_factory=dict)
    _rejected: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    _used: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    _skipped: dict[int, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    _before: dict[int, str] = field(default_factory=dict)
    _seen: set[tuple[str, str, str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.report = ImportReport(self.kind)

    # ------------------------------------------------------------------ rows

    def open(self, sheet: Sheet, role: str) -> list[int]:
        """Begin a table; returns its well-formed rows. Malformed rows are rejected at once."""
        self._index[id(sheet)] = len(self._sheets)  # the list keeps the sheet alive, so its id stays its own
        self._sheets.append(sheet)
        self._roles.append(role)
        for row, reason in sheet.malformed.items():
            self.reject(sheet, row, "", reason)
        return [row for row in range(len(sheet)) if row not in sheet.malformed]

    def _number(self, sheet: Sheet) -> int:
        return self._index[id(sheet)]

    def reject(self, sheet: Sheet, row: int, code: str, reason: str, value: str = "") -> None:
        """A row (or a text in it) that cannot be placed."""
        self._rejected[self._number(sheet)].add(row)
        shown = value if value else " | ".join(cell for cell in sheet.rows[row] if cell)
        self.report.rejects.append(Reject(sheet.name, sheet.lines[row], code, reason, tidy(shown)[:_SHOWN]))

    def skip(self, sheet: Sheet, row: int, reason: str) -> None:
        """A row that is not wanted, or says nothing new."""
        self._skipped[self._number(sheet)][row] = reason

    def use(self, sheet: Sheet, row: int) -> None:
        """A row that was needed without being a node or a text (a relation)."""
        self._used[self._number(sheet)].add(row)

    def code(self, sheet: Sheet, row: int, value: str, *, width: int = 0, mend: bool = True) -> str:
        """A cell as a code, mended where only one reading is possible; "" where it is none (the row is rejected).

        "1120.0" is 1120 (a column read as numbers), and with a ``width`` "110" is 0110. Every repair is counted.
        """
        code = tidy(trim(value)).lstrip("'")
        if mend and (whole := whole_number(code)) != code:
            code = whole
            self.report.repairs["decimal numbers turned back into codes"] += 1
        if width and code.isdigit() and len(code) < width:
            code = code.zfill(width)
            self.report.repairs["leading zeros restored (the length is known)"] += 1
        if not code:
            self.reject(sheet, row, "", "no code")
        elif _DATE.fullmatch(code):
            self.reject(
                sheet, row, code, "a date where a code should be: Excel has changed it; format the column as text"
            )
            return ""
        return code

    def coded(
        self,
        sheet: Sheet,
        role: str,
        names: Sequence[str],
        *,
        form: str = "",
        expected: str = "",
        width: int = 0,
        level: Sequence[str] = (),
    ) -> Iterator[tuple[int, str]]:
        """Begin a table: number and code of the rows that have one; the others are rejected.

        Args:
            names: of the column of codes.
            form: pattern of a whole code; ``expected`` says it in words.
            width: length of the codes, where it is the same for all: lost leading zeros are put back.
            level: names of a column that says how many digits a code has; what it does not say has ``width``.
        """
        codes, levels = sheet.column(*names), sheet.cells(sheet.find(*level) if level else None)
        for row in self.open(sheet, role):
            digits = tidy(levels[row])
            code = self.code(sheet, row, codes[row], width=int(digits) if digits in _LEVELS else width)
            if code and form and not re.fullmatch(form, code):
                hint = ": a lost leading zero?" if code.isdigit() and re.fullmatch(form, f"0{code}") else ""
                self.reject(sheet, row, code, f"{expected}{hint}")
            elif code:
                yield row, code

    def texts_of(
        self,
        sheet: Sheet,
        role: str,
        names: Sequence[str],
        kind: str,
        language: str,
        text: Sequence[str],
        detail: Sequence[str] = (),
        width: int = 0,
    ) -> None:
        """A table of one text a row: the names of its columns of codes, texts and details ("n/a" is none)."""
        texts, details = sheet.column(*text), sheet.cells(sheet.find(*detail) if detail else None)
        for row, code in self.coded(sheet, role, names, width=width):
            self.text(sheet, row, code, kind, language, texts[row], "" if details[row] == "n/a" else tidy(details[row]))

    # ------------------------------------------------------------------ nodes and texts

    def node(
        self,
        code: str,
        parent: str,
        titles: Mapping[str, str] | None = None,
        descriptions: Mapping[str, str] | None = None,
        *,
        sheet: Sheet | None = None,
        row: int = -1,
    ) -> bool:
        """Add a code. A second row with the same code adds texts; with another parent it is rejected (False)."""
        if not code:
            return False
        known = self.nodes.get(code)
        before = ""
        if sheet is not None:
            before, self._before[self._number(sheet)] = self._before.get(self._number(sheet), ""), code
        if known is not None and (twice := self._contradiction(code, known, parent, titles or {}, sheet)):
            if sheet is not None:
                first = f", first in line {known.sheet.lines[known.row]}" if known.sheet is sheet else ""
                guess = neighbour_guess(before, code, self.nodes)
                may_be = f"; behind {before} it may be {guess}" if guess else ""
                self.reject(sheet, row, code, f"the code stands twice with different {twice}{first}{may_be}")
            return False
        new = 0
        if known is None:
            self.nodes[code] = _Node(parent, sheet, row)
            new += 1
        elif known.sheet is None:
            self.nodes[code] = _Node(parent, sheet, row)  # it was only inferred before
        for store, given in ((self.titles, titles), (self.descriptions, descriptions)):
            for language, text in (given or {}).items():
                if text and self._wanted(language) and code not in (by_code := store.setdefault(language, {})):
                    by_code[code] = text
                    new += 1
        if sheet is not None:
            if new or known is None or known.sheet is None:
                self.use(sheet, row)
            else:
                spoken = {x for texts in (titles, descriptions) for x, text in (texts or {}).items() if text}
                unwanted = bool(spoken) and not any(self._wanted(x) for x in spoken)
                self.skip(sheet, row, "language not asked for" if unwanted else "repeats an earlier row")
        return True

    def _contradiction(
        self, code: str, known: _Node, parent: str, titles: Mapping[str, str], sheet: Sheet | None
    ) -> str:
        """What a second row with the same code says differently from the first; "" when it only adds to it.

        Two tables of an office may name a code in two ways; within one table two titles are two codes.
        """
        if known.parent != parent:
            return f"parents ({known.parent or 'none'}, {parent or 'none'})"
        for language, title in titles.items() if sheet is not None and sheet is known.sheet else ():
            first = self.titles.get(language, {}).get(code, "")
            if title and first and simple(title) != simple(first):
                return f"titles ({first!r}, {title!r})"
        return ""

    def _wanted(self, language: str) -> bool:
        self.found.add(language)
        return not self.languages or language in self.languages or language == "und"

    def text(
        self,
        sheet: Sheet,
        row: int,
        code: str,
        kind: str,
        language: str,
        text: str,
        detail: str = "",
        value: str = "",
    ) -> None:
        """Add a text; blank ones, repetitions and unwanted languages are skipped and counted."""
        text = tidy(text)
        if not code:
            return
        if not text:
            self.skip(sheet, row, "empty text")
        elif not self._wanted(language):
            self.skip(sheet, row, "language not asked for")
        elif (key := (code, kind, language, text if not detail else f"{text}\n{detail}")) in self._seen:
            self.skip(sheet, row, "repeats an earlier row")
        else:
            self._seen.add(key)
            line = sheet.lines[row]
            self.texts.append(
                (Text(code, kind, language, text, detail, value, sheet.name, line), self._number(sheet), row)
            )

    # ------------------------------------------------------------------ the end

    def _drop(self, codes: Iterable[str], reason: str) -> None:
        for code in list(codes):
            node = self.nodes.pop(code)
            if node.sheet is not None:
                self._used[self._number(node.sheet)].discard(node.row)
                self.reject(node.sheet, node.row, code, reason)
            else:
                self.report.rejects.append(Reject("", 0, code, reason, ""))
            for store in (self.titles, self.descriptions):
                for texts in store.values():
                    texts.pop(code, None)

    def tree(self) -> Taxonomy:
        """The tree of the nodes that have a place; the others are rejected, with all below them.

        Raises:
            TaxonomyError: nothing is left.
        """
        while True:
            problems = edge_problems(list(self.nodes), [n.parent for n in self.nodes.values()])
            orphans = [c for c, n in self.nodes.items() if n.parent and n.parent not in self.nodes]
            loops = {c for p in problems if p.kind in ("cycle", "self-parent") for c in p.codes} & set(self.nodes)
            if not orphans and not loops:
                break
            for code in orphans:
                self._drop([code], f"its parent {self.nodes[code].parent!r} is not in the files")
            self._drop(sorted(loops - set(orphans)), "it is its own ancestor")
        if not self.nodes:
            told = ""
            if self.report.rejects:
                first = self.report.rejects[0]
                told = f"; the first is {first.file} line {first.line}: {first.reason}"
            raise TaxonomyError(f"{self.name}: no code could be placed in a tree{told}")
        return from_edges(
            list(self.nodes),
            [n.parent for n in self.nodes.values()],
            titles={k: v for k, v in sorted(self.titles.items()) if v},
            descriptions={k: v for k, v in sorted(self.descriptions.items()) if v},
            name=self.name,
        )

    def finish(self, *, restore_zeros: bool = False) -> ImportedTaxonomy:
        """The import. Texts whose code is not in the tree are rejected with the reason.

        Raises:
            TaxonomyError: no code could be placed.
        """
        tree = self.tree()
        unknown = list(dict.fromkeys(t.code for t, _, _ in self.texts if t.code not in tree.index_of))
        mended, found = repair_codes(tree, unknown, restore_zeros=restore_zeros, asking="nobody")
        fixed = {old: new for old, new in zip(unknown, mended, strict=True) if new in tree.index_of}
        kept: list[Text] = []
        for text, number, row in self.texts:
            if text.code in tree.index_of:
                kept.append(text)
                self._used[number].add(row)
            elif text.code in fixed:
                kept.append(text._replace(code=fixed[text.code]))
                self._used[number].add(row)
                self.report.repairs["codes of texts mended"] += 1
            else:
                reason = re.sub(
                    r"^'[^']*' is not in the tree$", "its code is not in the tree", found.reasons[text.code]
                )
                self.reject(self._sheets[number], row, text.code, reason, text.text)
        order = {kind: i for i, kind in enumerate(dict.fromkeys(t.kind for t in kept))}
        kept.sort(key=lambda t: order[t.kind])  # stable: within a kind as in the files
        self._count(tree, kept)
        return ImportedTaxonomy(tree, tuple(kept), self.report)

    def _count(self, tree: Taxonomy, kept: list[Text]) -> None:
        report = self.report
        for i, (sheet, role) in enumerate(zip(self._sheets, self._roles, strict=True)):
            used = self._used[i]
            rejected = self._rejected[i] - used
            rest = [row for row in range(len(sheet)) if row not in used and row not in rejected]
            reasons = Counter(self._skipped[i].get(row, "nothing to read") for row in rest)
            report.files.append(FileCount(sheet.name, role, len(sheet), len(used), len(rejected), reasons))
        report.levels = [int((tree.level == d).sum()) for d in range(1, tree.depth + 1)]
        for what, store in (("title", tree.titles), ("description", tree.descriptions)):
            for language, values in store.items():
                report.texts[(what, language)] = sum(map(bool, values))
        report.texts.update(Counter((t.kind, t.language) for t in kept))
