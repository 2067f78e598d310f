"""Print what `hjc predict` wrote, one line an ad and rank: python examples/show.py coded.csv"""

import csv
import re
import sys

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def main(path: str) -> None:
    with open(path, encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f))
    if not rows:
        raise SystemExit(f"{path} has no rows")
    places = [m.groups() for m in map(re.compile(r"hjc_level(\d+)_code_(\d+)$").match, rows[0]) if m]
    if not places:
        raise SystemExit(f"{path} has no columns hjc_level..._code_...: write it with hjc predict --top-k")
    table = Table(title=path)
    for column, style in (("id", ""), ("", ""), ("ad", ""), ("code", "bold"), ("title", ""), ("probability", "")):
        table.add_column(column, style=style, justify="right" if column == "probability" else "left")
    for row in rows:
        ad = [row["id"], row["language"], escape(row["title"])]
        for level, rank in places:
            code, title, proba = (row[f"hjc_level{level}_{what}_{rank}"] for what in ("code", "title", "proba"))
            if code:
                table.add_row(*ad, code, escape(title), f"{float(proba):.3f}")
                ad = ["", "", ""]  # the other ranks of the same ad
        if ad[0]:
            table.add_row(*ad, "", f"[italic]{escape(row['hjc_status'])}[/italic]", "")
        table.add_section()
    Console().print(table)


if __name__ == "__main__":
    main(sys.argv[1])
