"""Print a coded CSV as a table: python examples/show.py coded.csv"""

import csv
import sys

from rich.console import Console
from rich.table import Table


def main(path: str) -> None:
    with open(path, encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f))
    if not rows:
        raise SystemExit(f"{path} has no rows")
    table = Table(title=path, show_lines=False)
    columns = [c for c in rows[0] if c != "description"]  # too wide for a terminal
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(row[c] for c in columns))
    Console().print(table)


if __name__ == "__main__":
    main(sys.argv[1])
