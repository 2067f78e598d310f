"""ESCO: the Commission's csv bundle of any version and language, Tabiya's layout, and tidy multilingual tables.

ESCO occupations are leaves (and inner nodes) below the unit groups of ISCO-08. A bundle of several languages is read
at once: give several folders, or one that has the files of all. Relations decide the parent of an occupation; codes do
where there is no relation (in v1.2.1 four occupations do not stand where their code says).
"""

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from hjc.errors import TaxonomyError, name_some
from hjc.taxonomy.readers.collect import Collector
from hjc.taxonomy.readers.esco_tidy import is_tidy, read_tidy
from hjc.taxonomy.readers.isco08 import add_built_in
from hjc.taxonomy.readers.registry import Source, Table, register
from hjc.taxonomy.readers.result import ImportedTaxonomy
from hjc.taxonomy.readers.sheets import Sheet, lines_of, tidy

_LANG = r"(_[a-z]{2,3})?"
_URI = ("conceptUri", "ORIGINURI", "uri")
_LABEL = ("preferredLabel",)
OCCUPATIONS = Table("occupations", rf"occupations{_LANG}\.csv", (_URI, _LABEL))
GROUPS = Table(
    "ISCO groups",
    rf"(ISCOGroups|occupation_groups){_LANG}\.csv",
    (_URI, _LABEL, ("code",)),
    "names of the ISCO groups; the built-in names are used",
)
BROADER = Table(
    "broader relations",
    rf"broaderRelationsOccPillar{_LANG}\.csv",
    (("conceptUri",), ("broaderUri",)),
    "the parents as ESCO states them; the codes decide",
)
HIERARCHY = Table("occupation hierarchy", r"occupations?_hierarchy\.csv", (("PARENTID",), ("CHILDID",)))
SKILLS = Table(
    "skills", rf"skills{_LANG}\.csv", (("conceptUri", "ID"), _LABEL), "skill and knowledge labels in each language"
)
RELATIONS = Table(
    "occupation-skill relations",
    rf"(occupationSkillRelations{_LANG}|occupation_(to_)?skill_relations)\.csv",
    (("occupationUri", "OCCUPATIONID"), ("skillUri", "SKILLID"), ("relationType",)),
    "skills of the occupations",
)
_CODE = re.compile(r"\d{4}(\.\d+)+|[A-Z]?\d{4}(_\d+)+")
_LINK = re.compile(r"""<a\b[^>]*?(?:resource|href)=["']([^"']+)["'][^>]*>(.*?)</a>""", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"<[^<>]+>")
#: how many occupations of a second language may differ before the files are of different versions
_MIXED = 0.01


@dataclass
class _State:
    """What is known by URI (and by Tabiya's ID) while files are read."""

    collector: Collector
    code_of: dict[str, str] = field(default_factory=dict)
    parent_of: dict[str, str] = field(default_factory=dict)
    languages: list[str] = field(default_factory=list)


def language_of(sheet: Sheet, default: str) -> str:
    """Language behind the last underscore of the file name, else the default."""
    match = re.search(r"_([a-z]{2,3})\.", sheet.path.name.lower())
    return match[1] if match else default


def plain_note(text: str, code_of: Mapping[str, str]) -> str:
    """A note without mark-up; a linked occupation becomes ``label (code)`` where its code is known."""

    def linked(match: re.Match[str]) -> str:
        label, code = _TAG.sub("", match[2]), code_of.get(match[1], "")
        return f"{label} ({code})" if code else label

    return "\n".join(tidy(line) for line in _TAG.sub("", _LINK.sub(linked, text)).splitlines())


@register(
    "esco",
    "ESCO, European Commission (any version and language; also Tabiya's layout)",
    "occupations_xx, ISCOGroups_xx, broaderRelationsOccPillar_xx, skills_xx, occupationSkillRelations_xx (csv)",
    tables=(OCCUPATIONS, GROUPS, BROADER, HIERARCHY, SKILLS, RELATIONS),
)
def read(source: Source, collector: Collector) -> ImportedTaxonomy:
    """All languages among the files at once."""
    if is_tidy(source):
        return read_tidy(source, collector)
    occupations = source.all(OCCUPATIONS)
    if not occupations:
        raise source.lacking((OCCUPATIONS,), "occupations_xx.csv of ESCO")
    default = source.options.language or "en"
    state = _State(collector)
    groups = source.all(GROUPS)
    for sheet in groups:
        _add_groups(state, sheet, language_of(sheet, default))
    if not groups:
        collector.report.missing[GROUPS.role] = GROUPS.purpose
        add_built_in(collector)
    for i, sheet in enumerate(occupations):  # codes first: notes and relations name occupations of any file
        _learn_codes(state, sheet, first=i == 0)
    _add_relations(state, source, default)
    for sheet in occupations:
        _add_occupations(state, sheet, language_of(sheet, default))
    _add_skills(state, source, default)
    return collector.finish()


def _group_code(uri: str, code: str) -> str:
    """The code of an ISCO group; the URI (.../isco/C0110) keeps the zeros that a spreadsheet takes from the code."""
    match = re.search(r"/isco/C(\d{1,4})$", uri)
    return match[1] if match else code


def _ids(sheet: Sheet, row: int) -> list[str]:
    """The URI, and Tabiya's ID, of a row."""
    cells = sheet.rows[row]
    return [cells[at] for at in (sheet.find(*_URI), sheet.find("ID")) if at is not None and cells[at]]


def _add_groups(state: _State, sheet: Sheet, language: str) -> None:
    collector = state.collector
    code_at, label_at, alt = sheet.need("code"), sheet.need(*_LABEL), sheet.optional("altLabels")
    descriptions = sheet.optional("description")
    for row in collector.open(sheet, f"ISCO groups {language}"):
        ids = _ids(sheet, row)
        code = collector.code(sheet, row, _group_code(ids[0] if ids else "", sheet.rows[row][code_at]))
        if not re.fullmatch(r"\d{1,4}", code):
            if code:
                collector.reject(sheet, row, code, "not the code of an ISCO group")
            continue
        for key in ids:
            state.code_of[key] = code
        titles, texts = {language: tidy(sheet.rows[row][label_at])}, {language: descriptions[row].strip()}
        if collector.node(code, code[:-1], titles, texts, sheet=sheet, row=row):
            for label in lines_of(alt[row]):
                collector.text(sheet, row, code, "alternative", language, label)


def _learn_codes(state: _State, sheet: Sheet, *, first: bool) -> None:
    code_at = sheet.need("code", "CODE")
    changed = []
    for row in range(len(sheet)):
        code = tidy(sheet.rows[row][code_at])
        for key in _ids(sheet, row):
            if state.code_of.setdefault(key, code) != code:
                changed.append(f"{state.code_of[key]} / {code}")
    if not first and len(changed) > max(3, _MIXED * len(sheet)):
        raise TaxonomyError(
            f"{sheet.path}: {len(changed)} occupations have another code than in the other files "
            f"({name_some(changed, 3)}): these are different versions of ESCO. Import each version by itself"
        )


def _add_relations(state: _State, source: Source, default: str) -> None:
    collector = state.collector
    tables = [(s, "broaderUri", "conceptUri") for s in source.all(BROADER)]
    tables += [(s, "PARENTID", "CHILDID") for s in source.all(HIERARCHY)]
    if not tables:
        collector.report.missing[BROADER.role] = BROADER.purpose
    for sheet, parent_name, child_name in tables:
        parent_at, child_at = sheet.need(parent_name), sheet.need(child_name)
        for row in collector.open(sheet, "relations"):
            cells = sheet.rows[row]
            parent, child = state.code_of.get(cells[parent_at]), state.code_of.get(cells[child_at])
            if not parent or not child:
                collector.reject(sheet, row, child or "", "a relation with a concept that is not in the other files")
            elif state.parent_of.setdefault(child, parent) != parent:
                collector.reject(sheet, row, child, f"a second broader concept (kept: {state.parent_of[child]})")
            else:
                collector.use(sheet, row)


def _parent_by_code(code: str, known: Container[str]) -> str:
    """The nearest code above that exists: 2166.4.7 -> 2166.4, or 2166 when there is no 2166.4."""
    parts = re.split(r"([._])", code)
    for n in range(len(parts) - 2, 0, -2):
        if (above := "".join(parts[:n])) in known or n == 1:
            return above
    return ""


def _add_occupations(state: _State, sheet: Sheet, language: str) -> None:
    collector = state.collector
    code_at, label_at = sheet.need("code", "CODE"), sheet.need(*_LABEL)
    names = ("altLabels", "hiddenLabels", "status", "description", "definition", "scopeNote")
    column = {name: sheet.optional(name) for name in names}
    group_at = sheet.find("iscoGroup", "ISCOGROUPCODE")
    codes = {tidy(code) for code in sheet.cells(code_at)} | set(collector.nodes)
    for row in collector.open(sheet, f"occupations {language}"):
        cells = sheet.rows[row]
        code = collector.code(sheet, row, cells[code_at], mend=False)
        if not code:
            continue
        status = column["status"][row]
        group = tidy(cells[group_at]).removesuffix(".0").zfill(4) if group_at is not None and cells[group_at] else ""
        ids = _ids(sheet, row)
        if status and status != "released":
            collector.skip(sheet, row, f"status {status}")
        elif not _CODE.fullmatch(code):
            collector.reject(sheet, row, code, "not the code of an ESCO occupation, such as 2166.4.7")
        elif group and not code.lstrip("I").startswith(group) and code not in state.parent_of:
            collector.reject(
                sheet, row, code, f"the code does not begin with its ISCO group {group}: read as a number?"
            )
        elif any(state.code_of.get(key, code) != code for key in ids):
            collector.reject(sheet, row, code, f"in another file its code is {state.code_of[ids[0]]}")
        else:
            titles, texts = {language: tidy(cells[label_at])}, {language: column["description"][row].strip()}
            parent = state.parent_of.get(code) or _parent_by_code(code, codes)
            if collector.node(code, parent, titles, texts, sheet=sheet, row=row):
                for name, kind in (("altLabels", "alternative"), ("hiddenLabels", "hidden")):
                    for label in lines_of(column[name][row]):
                        collector.text(sheet, row, code, kind, language, label)
                for name, kind in (("definition", "definition"), ("scopeNote", "scope_note")):
                    if note := plain_note(column[name][row], state.code_of):
                        collector.text(sheet, row, code, kind, language, note)


def _add_skills(state: _State, source: Source, default: str) -> None:
    collector = state.collector
    labels: dict[str, dict[str, str]] = {}  # language -> {URI or ID: label}
    for sheet in source.all(SKILLS):
        language = language_of(sheet, default)
        label_at = sheet.need(*_LABEL)
        for row in collector.open(sheet, f"skills {language}"):
            for key in _ids(sheet, row):
                labels.setdefault(language, {})[key] = sheet.rows[row][label_at]
            collector.use(sheet, row)
    relations = source.all(RELATIONS)
    for table, found in ((SKILLS, labels), (RELATIONS, relations)):
        if not found:
            collector.report.missing[table.role] = table.purpose
    for sheet in relations[:1]:  # relations are the same in every language
        occupation_at, skill_at = sheet.need("occupationUri", "OCCUPATIONID"), sheet.need("skillUri", "SKILLID")
        relation = sheet.column("relationType")
        types, own = sheet.optional("skillType"), sheet.optional("skillLabel")
        for row in collector.open(sheet, "occupation-skill relations"):
            cells = sheet.rows[row]
            code = state.code_of.get(cells[occupation_at], "")
            names = {lang: by_key[cells[skill_at]] for lang, by_key in labels.items() if cells[skill_at] in by_key}
            if not labels and own[row]:
                names = {language_of(sheet, default): own[row]}
            if not code or not names:
                collector.reject(
                    sheet, row, code, "its skill is not in the files" if code else "its occupation is not in the files"
                )
            for language, name in names.items():
                kind = "knowledge" if types[row].endswith("knowledge") else "skill"
                collector.text(sheet, row, code, kind, language, name, relation[row])
    for sheet in relations[1:]:
        for row in collector.open(sheet, "occupation-skill relations"):
            collector.skip(sheet, row, "the same relations as in the first language")
