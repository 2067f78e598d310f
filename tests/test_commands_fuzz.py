"""Damaged and odd files given to the commands: one clear message and exit code 2, or a run whose counts add up.

Every command gets every damage. What a damaged file must never give: a stack trace, a message without the file's
name, or something half-written.
"""

import datetime
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.slow

CODES = ["1120", "2221", "2511", "5120", "9412", "0110"]
TEXTS = [
    f"Praca na stanowisku {word} żółć" for word in ("dyrektora", "pielęgniarki", "analityka", "kucharza", "pomocy")
]
#: damages of the contents that must be refused; the others may also be read with an account
REFUSED = {
    "empty", "directory", "missing", "cut_gzip", "cut_parquet", "no_parquet", "binary", "renamed", "encodings", "twice",
    "open_quote", "cut_workbook",
}  # fmt: skip


def table(rows: int = 24) -> pd.DataFrame:
    """Texts, codes, sources, units: what one of the commands or another asks for."""
    return pd.DataFrame(
        {
            "id": [f"u{i // 2}" for i in range(rows)],
            "coder": ["ann", "bob"] * (rows // 2),
            "text": [f"{TEXTS[i % len(TEXTS)]} {i % 7}" for i in range(rows)],
            "code": [CODES[i % len(CODES)] for i in range(rows)],
            "source": ["ads"] * rows,
            "language": ["pl"] * rows,
        }
    )


def save(frame: pd.DataFrame, path: Path) -> Path:
    """Write a frame as CSV, gzipped CSV or Parquet, by the name."""
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        data = frame.to_csv(index=False).encode("utf-8")
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def workbook(frame: pd.DataFrame, column: str, path: Path) -> None:
    """The frame in the second sheet of a workbook, with a date and a number among its codes."""
    book = pytest.importorskip("openpyxl").Workbook()
    book.active.append(["About this file"])
    sheet = book.create_sheet("Data")
    sheet.append(list(frame.columns))
    for i, row in enumerate(frame.astype(str).to_dict("records")):
        odd = {0: datetime.datetime(2011, 1, 20), 1: 1111}.get(i)
        sheet.append([odd if odd and name == column else value for name, value in row.items()])
    book.save(path)


def damaged(kind: str, frame: pd.DataFrame, folder: Path, stem: str, column: str) -> Path:
    """The frame with one damage, as a file. ``column`` is one that the command needs, its code where it has one."""
    path, good = folder / f"{stem}.csv", frame.to_csv(index=False)
    match kind:
        case "empty":
            path.write_bytes(b"")
        case "directory":
            path.mkdir()
        case "missing":
            pass
        case "cut_gzip":
            path = save(frame, folder / f"{stem}.csv.gz")
            path.write_bytes(path.read_bytes()[:-20])
        case "cut_parquet":
            path = save(frame, folder / f"{stem}.parquet")
            path.write_bytes(path.read_bytes()[:-50])
        case "no_parquet":
            path = folder / f"{stem}.parquet"
            path.write_text(good, encoding="utf-8")
        case "binary":
            path.write_bytes(bytes(range(256)) * 8)
        case "renamed":
            save(frame.rename(columns={column: f"{column}_x"}), path)
        case "encodings":
            lines = [*good.splitlines(keepends=True), f"{','.join(['żółć'] * frame.shape[1])}\n"]
            path.write_bytes(b"".join(x.encode("cp1250" if i % 2 else "utf-8") for i, x in enumerate(lines)))
        case "twice":
            header, rest = good.split("\n", 1)
            path.write_text(
                f"{header},{column}\n{rest}".replace("\n", ",x\n").replace(f",{column},x\n", f",{column}\n")
            )
        case "open_quote":
            path.write_text(good.replace("\n", '\n"', 1), encoding="utf-8")
        case "cut_workbook" | "workbook":
            path = folder / f"{stem}.xlsx"
            workbook(frame, column, path)
            path.write_bytes(path.read_bytes()[: -200 if kind == "cut_workbook" else None])
        case "floats":
            save(frame.assign(**{column: [f"{x}.0" if x.isdigit() else x for x in frame[column].astype(str)]}), path)
        case "dates":
            save(frame.assign(**{column: ["2011-01-20 00:00:00", "20-Jan", *frame[column].astype(str)[2:]]}), path)
        case "columns":
            wide = pd.DataFrame({f"c{i}": ["x"] * len(frame) for i in range(1500)})
            save(pd.concat([frame.reset_index(drop=True), wide], axis=1), path)
        case "repeated":
            save(pd.concat([frame, frame], ignore_index=True), path)
        case "no_rows":
            save(frame.iloc[:0], path)
        case "blank_cells":
            save(frame.assign(**{column: ""}), path)
        case "short_rows":
            path.write_text(good + "1,2\n", encoding="utf-8")
    return path


DAMAGES = [
    *sorted(REFUSED),
    "workbook",
    "floats",
    "dates",
    "columns",
    "repeated",
    "no_rows",
    "blank_cells",
    "short_rows",
]


def tree_rows() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "code": ["1", "11", "111", "1111", "1112", "2", "21", "211", "2111"],
            "title": [f"Grupa {i} żółć" for i in range(9)],
        }
    )


PAIRS = pd.DataFrame({"source": CODES, "target": ["1111", "1112", "2111", "2111", "1111", "1112"]})

#: command -> the frame that is damaged, its essential column, and the arguments ({} the damaged file, {f} the folder)
COMMANDS: dict[str, tuple[Callable[[], pd.DataFrame], str, str]] = {
    "taxonomy import isco08": (tree_rows, "code", "taxonomy import isco08 {} -o {out}"),
    "taxonomy import csv": (
        lambda: tree_rows().assign(parent=["", "1", "11", "111", "111", "", "2", "21", "211"]),
        "code",
        "taxonomy import csv {} -o {out}",
    ),
    "taxonomy import kzis": (
        lambda: tree_rows().assign(name=lambda f: f["title"], parent="", level=1)[["code", "parent", "level", "name"]],
        "code",
        "taxonomy import kzis {} -o {out}",
    ),
    "prepare": (table, "text", "data prepare {} -o {out}.csv --languages none"),
    "sample": (table, "code", "data sample {} -o {out}.csv --rule code-length --fraction 0.5"),
    "split": (table, "code", "data split {} -o {out}.csv --source-column source"),
    "manifest": (table, "code", "data manifest {} -o {out} --source-column source"),
    "agreement": (table, "code", "data agreement {} -o {out} --coder-column coder"),
    "suspicious": (
        table, "code", "data suspicious {} -o {out} --folds 2 --set features=word --set min_df=1 --level 1",
    ),
    "translate": (table, "text", "data translate {} -o {out}.csv --from pl --to en -t text --argos {f}/argos"),
    "crosswalk, coded table": (
        table, "code", "crosswalk {} -c code --table {f}/pairs.csv --from isco08 --to {f}/B.csv -o {out}.csv",
    ),
    "crosswalk, correspondence": (
        lambda: PAIRS, "source", "crosswalk {f}/data.csv -c code --table {} --from isco08 --to {f}/B.csv -o {out}.csv",
    ),
    "crosswalk, counts": (
        lambda: pd.DataFrame({"code": ["1111", "1112"], "count": ["3", "4"]}), "code",
        "crosswalk {f}/data.csv -c code --table {f}/pairs.csv --from isco08 --to {f}/B.csv --weights proportional "
        "--counts {} -o {out}.csv",
    ),
    "revise": (table, "code", "taxonomy revise {} --table {f}/pairs.csv --to {f}/B.csv -o {out}.csv"),
    "revise, correspondence": (
        lambda: PAIRS, "target", "taxonomy revise {f}/data.csv --table {} --to {f}/B.csv -o {out}.csv",
    ),
}  # fmt: skip
#: damages that these commands are right to read: a line is put aside and named; text is text whatever its name; a table
#: of two columns is source and target, whatever they are called
READ = {
    *((c, "open_quote") for c in ("prepare", "sample", "split", "manifest", "suspicious")),
    *((c, "open_quote") for c in ("translate", "crosswalk, coded table", "revise")),
    *((command, "no_parquet") for command in COMMANDS if "correspondence" in command or "counts" in command),
    ("crosswalk, correspondence", "renamed"), ("revise, correspondence", "renamed"),
}  # fmt: skip


class Echo:
    """A translation back end that gives back what it got."""

    name, fingerprint, max_tokens = "echo", "1", 100

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def supports(self, source: str, target: str) -> bool:
        return True

    def count_tokens(self, texts, source, target):
        return [len(text.split()) for text in texts]

    def translate(self, texts, source, target):
        from hjc.corpus.translate import Translation

        return [Translation(text) for text in texts]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the commands read beside the damaged file."""
    monkeypatch.setattr("hjc.corpus.argos.ArgosTranslator", Echo)
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    tree = tree_rows()
    tree.assign(parent=["", "1", "11", "111", "111", "", "2", "21", "211"]).to_csv(
        tmp_path / "in" / "B.csv", index=False
    )
    save(PAIRS, tmp_path / "in" / "pairs.csv")
    save(table(), tmp_path / "in" / "data.csv")
    return tmp_path


def arguments(text: str, path: Path, folder: Path) -> list[str]:
    filled = text.replace("{f}", str(folder / "in")).replace("{out}", str(folder / "out" / "result"))
    return [part.replace("{}", str(path)) for part in filled.split(" ")]


def the_message(err: str) -> str:
    """The one message of a refusal; checked to be one, of a length to be read, without a stack trace."""
    message = err[err.index("error: ") :]
    assert err.count("error: ") == 1 and 25 < len(message) < 3000 and "Traceback" not in err, err
    return message


@pytest.mark.parametrize("command", COMMANDS)
def test_good_files_are_read(command, call, folder) -> None:
    make, _, text = COMMANDS[command]
    code, _, err = call(*arguments(text, save(make(), folder / "in" / "given.csv"), folder))
    assert code == 0, err
    assert list((folder / "out").iterdir())


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("command", COMMANDS)
def test_damaged_files(command, damage, call, folder) -> None:
    make, column, text = COMMANDS[command]
    path = damaged(damage, make(), folder / "in", "given", column)
    code, _, err = call(*arguments(text, path, folder))
    left = sorted(p.name for p in (folder / "out").rglob("*"))
    assert code in (0, 2), err
    if code == 2:
        message = the_message(err)
        assert "given" in message or damage in ("blank_cells", "no_rows", "floats", "dates"), message
        assert left == [], f"half-written: {left}"
    else:
        assert damage not in REFUSED or (command, damage) in READ, f"was read: {err}"
        if damage == "open_quote":  # the row is counted, and no other row is lost
            assert "1 unreadable line left out" in err or "1 rows cannot be used: a quotation mark opens here" in err
        assert left and not any(name.endswith(".partial") for name in left)
        for log in (folder / "out").rglob("*.log.json"):
            facts = json.loads(log.read_text(encoding="utf-8"))
            if "rows_rejected" in facts:
                assert facts["rows_in"] == facts["rows_out"] + facts["rows_rejected"]
