"""The card of a model of ``hjc ready``, with what the offices ask for."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hjc.report.card import write_card
from hjc.taxonomy.readers import READERS

#: reader -> what its office asks for
ATTRIBUTION: Mapping[str, str] = {
    "esco": "ESCO, European Commission, Decision 2011/833/EU (CC BY 4.0 from version 1.1 on): This service uses the "
    "ESCO classification of the European Commission.",
    "onet": "O*NET Database, U.S. Department of Labor, Employment and Training Administration (USDOL/ETA), CC BY 4.0, "
    "modified. O*NET is a trademark of USDOL/ETA.",
    "kzis": "KZiS, Polish Ministry of Labour and Statistics Poland: official documents, not protected (Polish "
    "Copyright Act, article 4).",
    "soc2018": "Standard Occupational Classification, U.S. Bureau of Labor Statistics: public domain.",
    "sample": "Titles and ads were written for hjc (MIT licence), not scraped: figures on them are no figures for "
    "real ads.",
}
#: what stands for the reader where there are no files: titles and ads written for this project
SAMPLE = "sample"
LICENCE = {"esco": "cc-by-4.0", "onet": "cc-by-4.0", SAMPLE: "mit"}


def ready_card(output: Path, kind: str, reader: str, *, titles: Sequence[str], uncoded: Sequence[str]) -> Path:
    """Write it. ``titles``, ``uncoded``: further tables that were trained on."""
    made_from = "the titles and ads that come with hjc" if reader == SAMPLE else f"the files of {READERS[reader].title}"
    lines = [
        "## Made by `hjc ready`",
        "",
        f"From {made_from}. No coded ad{' of yours' if reader == SAMPLE else ''} was trained on"
        + (f"; ads without codes were ({', '.join(Path(p).name for p in uncoded)})." if uncoded else "."),
        "Validation rows are names that were held back: figures on real ads are lower, see the tests.",
        "",
        ATTRIBUTION.get(reader, "See the licence of the office's files before you pass the model on."),
    ]
    if titles:
        lines.append(f"Further titles: {', '.join(Path(p).name for p in titles)}; see their licences.")
    return write_card(output, title=f"Ready model for {kind}", licence=LICENCE.get(reader), notes="\n".join(lines))
