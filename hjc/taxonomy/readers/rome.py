"""ROME 4.0 of France Travail: jobs (codes such as A1101) and their titles (appellations), in French."""

import re

from hjc.taxonomy.readers.collect import Collector
from hjc.taxonomy.readers.registry import Source, Table, register
from hjc.taxonomy.readers.result import ImportedTaxonomy
from hjc.taxonomy.readers.sheets import tidy

_CODE = ("code", "code_rome")
HIERARCHY = Table("hierarchy", r".*hierarchy.*", (_CODE, ("parent",), ("name",)))
JOBS = Table("jobs", r".*referentiel_code_rome.*", (_CODE, ("libelle_rome", "libelle")))
DOMAINS = Table(
    "domains",
    r".*(cr_gd_dp|arborescence|domaine).*",
    (("code_grand_domaine", "code_domaine_professionnel", "code_domaine"),),
    "names of the domains (letters, and letter with two digits)",
)
TITLES = Table(
    "appellations", r".*appellation.*", (_CODE, ("title", "libelle_appellation_long", "libelle_appellation")), "titles"
)
_ROME = r"[A-Z]|[A-Z]\d\d|[A-Z]\d{4}"


def parent_of(code: str) -> str:
    """A1101 -> A11 -> A -> ""."""
    return code[:3] if len(code) == 5 else code[:1] if len(code) == 3 else ""


@register(
    "rome",
    "ROME 4.0, France Travail",
    "unix_referentiel_code_rome, unix_referentiel_appellation, unix_cr_gd_dp (csv)",
    tables=(HIERARCHY, JOBS, DOMAINS, TITLES),
)
def read(source: Source, collector: Collector) -> ImportedTaxonomy:
    """A table of jobs (or a hierarchy) is needed; the letters and domains above come from the codes."""
    base = [(sheet, "hierarchy") for sheet in source.all(HIERARCHY)] or [(sheet, "jobs") for sheet in source.all(JOBS)]
    if not base:
        raise source.lacking((JOBS, HIERARCHY), "ROME table of jobs (unix_referentiel_code_rome) or hierarchy")
    for sheet, role in base:
        name_at = sheet.need("name", "libelle_rome", "libelle")
        for row, code in collector.coded(sheet, role, _CODE, form=_ROME, expected="not a ROME code such as A1101"):
            for above in (parent_of(code), parent_of(parent_of(code))):
                if above and role == "jobs":
                    collector.node(above, parent_of(above))
            collector.node(code, parent_of(code), {"fr": tidy(sheet.rows[row][name_at])}, sheet=sheet, row=row)
    if base[0][1] == "jobs":
        _add_domains(collector, source)
    titles = source.find(TITLES, collector)
    if titles is not None:
        title_at = titles.need(*TITLES.required[1])
        short = titles.optional("title_short", "libelle_appellation_court")
        status = titles.optional("kind", "libelle_type_section_appellation")
        for row, code in collector.coded(titles, "appellations", _CODE):
            cells = titles.rows[row]
            collector.text(titles, row, code, "alternative", "fr", cells[title_at], status[row])
            if tidy(short[row]) and tidy(short[row]) != tidy(cells[title_at]):
                collector.text(titles, row, code, "short", "fr", short[row])
    return collector.finish()


def _add_domains(collector: Collector, source: Source) -> None:
    sheets = source.all(DOMAINS)
    if not sheets:
        collector.report.missing[DOMAINS.role] = DOMAINS.purpose
    for sheet in sheets:
        large, large_name = sheet.find("code_grand_domaine"), sheet.find("libelle_grand_domaine")
        domain = sheet.find("code_domaine_professionnel", "code_domaine")
        domain_name = sheet.find("libelle_domaine_professionnel", "libelle_domaine")
        for row in collector.open(sheet, "domains"):
            cells = sheet.rows[row]
            for code_at, name_at in ((large, large_name), (domain, domain_name)):
                if code_at is None or name_at is None or not cells[code_at].strip():
                    continue
                code = cells[code_at].strip()
                if code in collector.nodes and re.fullmatch(_ROME, code):
                    collector.node(code, parent_of(code), {"fr": tidy(cells[name_at])}, sheet=sheet, row=row)
