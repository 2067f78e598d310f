"""Mutated tables through the commands. Every row that can be recognised must come out once: coded, marked or rejected.

Each row carries a mark (``r000017x``). How often each mark stands in the input and in what was written is counted by
the csv and json modules and a regular expression, never by hjc's reader.
"""

import bz2
import csv
import gzip
import io
import json
import random
import re
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pandas as pd

from tests.campaigns.harness import MODELS, Ended, Tally, forked, here

MARK = re.compile(r"r\d{6}x")
WORDS = [
    "nurse", "Krankenpflegerin", "kierowca", "cook", "baker", "żółć", "看護師", "🚌 bus", "doctor", "=1+1", "", "  ",
    "a" * 3000,
]  # fmt: skip
CODES = ["211", "22", "511", "512", "521", "522", "811", "812", "0"]
ODD = [
    "\0", "\x1b[31m", "\u202e", "\ufeff", "\ud7ff", '"', "'", "\\", '\\"', "\n", "\r", "\r\n", "\t", ",", ";", "\u2028",
    "\x85", "\x1c", "<b>", "&#0;",
]  # fmt: skip
HEADER = ["id", "text", "title", "code", "note"]


def rows(draw: random.Random) -> list[list[str]]:
    """Up to 24 rows, some with odd characters in their cells."""
    out = []
    for _ in range(draw.randint(1, 24)):
        cells = [f"{draw.choice(WORDS)} {draw.choice(WORDS[:8])}" for _ in range(2)]
        if draw.random() < 0.2:
            at = draw.randrange(2)
            cells[at] = cells[at].replace(" ", draw.choice(ODD), 1)
        out.append([f"r{draw.randrange(10**6):06d}x", *cells, draw.choice(CODES), draw.choice(["", "x", "note"])])
    return out


def as_csv(table: list[list[str]], draw: random.Random) -> tuple[str, str]:
    """The text and the ending of its name."""
    separator = draw.choice([",", ",", ";", "\t", "|"])
    stream, end = io.StringIO(newline=""), draw.choice(["\n", "\r\n"])
    quoting = draw.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    for row in table:  # with CR LF as its end the csv module quotes both, with LF it would leave a lone CR bare
        line = io.StringIO(newline="")
        csv.writer(line, delimiter=separator, quoting=quoting, lineterminator="\r\n").writerow(row)
        stream.write(line.getvalue()[:-2] + end)
    return stream.getvalue(), ".tsv" if separator == "\t" else ".csv"


def as_jsonl(table: list[list[str]], draw: random.Random) -> tuple[str, str]:
    objects = [dict(zip(table[0], row, strict=False)) for row in table[1:]]
    if draw.random() < 0.3:
        return json.dumps(objects, ensure_ascii=draw.random() < 0.5), ".json"
    return "".join(json.dumps(o, ensure_ascii=draw.random() < 0.5) + "\n" for o in objects), ".jsonl"


def lines_mutated(text: str, draw: random.Random) -> str:
    """A change of whole lines or of some characters of the text."""
    lines = text.splitlines(keepends=True) or [""]
    at = draw.randrange(len(lines))
    match draw.choice(["short", "long", "blank", "twice", "swap", "drop", "odd", "open", "cut", "sep", "end", "junk"]):
        case "short":
            lines[at] = lines[at][: draw.randrange(len(lines[at]) + 1)].rstrip("\r\n") + "\n"
        case "long":
            lines[at] = lines[at].rstrip("\r\n") + draw.choice([",", ";;;", ",a,b,c", "\t"]) + "\n"
        case "blank":
            lines.insert(at, draw.choice(["\n", "   \n", ",,,,\n", "\r\n"]))
        case "twice":
            lines.insert(at, lines[at])
        case "swap":
            other = draw.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        case "drop":
            del lines[at]
        case "odd" | "open":
            place = draw.randrange(len(text) + 1)
            return text[:place] + draw.choice(ODD) + text[place:]
        case "cut":
            return text[: draw.randrange(len(text) + 1)]
        case "sep":
            return "sep=;\n" + text
        case "end":
            return text.rstrip("\r\n")
        case "junk":
            lines.insert(at, draw.choice(["garbage\n", "{}\n", "[1]\n", '{"a":' * 3000 + "\n", "null\n", "\x1a\n"]))
    return "".join(lines)


def bytes_mutated(data: bytes, draw: random.Random) -> bytes:
    """Flip, cut, insert, repeat or blank some bytes."""
    at, size = draw.randrange(len(data) + 1), draw.randint(1, 40)
    kind = draw.choice(["flip", "cut", "insert", "repeat", "zero", "remove"])
    if kind == "flip" and data:
        at = min(at, len(data) - 1)
        return data[:at] + bytes([data[at] ^ (1 << draw.randrange(8))]) + data[at + 1 :]
    middle = {"insert": draw.randbytes(size), "zero": bytes(size), "repeat": data[at : at + size] * 2}.get(kind, b"")
    if kind == "cut":
        return data[:at]
    return data[:at] + middle + data[at + (0 if kind == "insert" else size) :]


def mutant(draw: random.Random, folder: Path) -> tuple[Path, list[str], Counter[str] | None, int | None]:
    """A table as a file, options to read it, its marks (None: packed and damaged) and its rows where they are known."""
    table = [HEADER, *rows(draw)]
    known: int | None = len(table) - 1
    if draw.random() < 0.12:
        path = folder / draw.choice(["in.parquet", "in.xlsx"])
        frame = pd.DataFrame(table[1:], columns=HEADER).map(lambda v: re.sub(r"[\x00-\x1f]", " ", v))
        frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_excel(path, index=False)
        marks: Counter[str] | None = Counter(row[0] for row in table[1:])
        if draw.random() < 0.6:
            path.write_bytes(bytes_mutated(path.read_bytes(), draw))
            marks = None
        return path, [], marks, known if marks else None
    text, suffix = draw.choice([as_csv, as_csv, as_csv, as_jsonl])(table, draw)
    for _ in range(draw.choice([0, 1, 1, 2, 3])):
        text, known = lines_mutated(text, draw), None
    encoding, options = draw.choice(
        [("utf-8", []), ("utf-8-sig", []), ("utf-16", []), ("cp1250", ["--encoding", "cp1250"])]
    )
    data = text.encode(encoding, "replace")
    if draw.random() < 0.3 and encoding != "utf-16":
        data, known = bytes_mutated(data, draw), None
    marks = Counter(MARK.findall(data.decode("utf-16" if encoding == "utf-16" else "latin-1")))
    pack = draw.random()
    if pack < 0.1:
        data, suffix = (gzip.compress(data), suffix + ".gz") if pack < 0.06 else (bz2.compress(data), suffix + ".bz2")
        if draw.random() < 0.5:
            data, marks, known = bytes_mutated(data, draw), None, None
    path = folder / f"in{suffix}"
    path.write_bytes(data)
    return path, options, marks, known


def account(
    tally: Tally, case: str, kind: str, folder: Path, out: str, marks: Counter[str] | None, known: int | None
) -> None:
    """Rows in = coded + marked + rejected; every mark of the input comes out as often as it went in."""
    text = (folder / out).read_bytes().decode("utf-8")
    if out.endswith(".jsonl"):
        objects = [json.loads(line) for line in text.split("\n") if line]
        cells = [[str(value) for value in o.values()] for o in objects]
        header = list(objects[0]) if objects else []
        states = [o.get("hjc_status") for o in objects]  # a row has the keys that it was given
    else:
        separator = "\t" if out.endswith(".tsv") else max(",;|\t", key=text.split("\n", 1)[0].count)
        header, *cells = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        states = [dict(zip(header, row, strict=False)).get("hjc_status") for row in cells]
    rejects = [p for p in folder.iterdir() if "rejects" in p.name or "unreadable" in p.name]
    rejected = [r for p in rejects for r in csv.DictReader(io.StringIO(p.read_text("utf-8"), newline=""))]
    if kind == "predict":
        tally.add(*("rows coded" if state == "ok" else "rows marked" for state in states))
        if not all(states):
            tally.fault(case, f"a row of {out} has no status")
    tally.add(*["rows rejected"] * len(rejected))
    if known is not None and len(cells) + len(rejected) != known:
        tally.fault(case, f"{known} rows in, {len(cells)} + {len(rejected)} rejected out")
    if marks is None:
        return
    tally.add("tables whose rows were accounted for one by one")
    marks = marks - Counter(MARK.findall(str(header)))  # lines may have changed places
    found = Counter(mark for row in cells for mark in MARK.findall(str(row)))
    found.update(mark for r in rejected for mark in MARK.findall(str(r)))
    whole = not any(len(r["value"]) >= 2000 for r in rejected)  # the rejects quote no more of a line
    if found - marks or (whole and marks - found):
        tally.fault(case, f"rows doubled {dict(found - marks)}, lost {dict(marks - found)}")


def account_sums(tally: Tally, case: object, kind: str, folder: Path, ended: Ended, known: int | None) -> None:
    """Commands that sum rows up: what they say they used and left out is what went in."""
    if kind == "estimate":
        used = int(next(csv.DictReader((folder / "shares.csv").open(encoding="utf-8")))["rows"])
        left = sum(int(n.replace(",", "")) for n in re.findall(r"([\d,]+) (?:left out|unreadable)", ended.err))
    else:
        at = folder / ("report" if kind == "evaluate" else "run")
        left = sum(1 for _ in csv.DictReader((at / "rejects.csv").open(encoding="utf-8", newline="")))
        name, key = ("metrics.csv", "value") if kind == "evaluate" else ("training_counts.csv", "rows")
        table = csv.DictReader((at / name).open(encoding="utf-8"))
        found = [
            float(r[key]) for r in table if kind == "train" or (r["metric"], r["level"], r["slice"]) == ("n", "1", "")
        ]
        used = int(sum(found))
    tally.add(*["rows used in sums"] * used, *["rows left out of sums"] * left)
    if known is not None and used + left != known:
        tally.fault(case, f"{known} rows in, {used} used + {left} left out", ended)


COMMANDS = {
    "predict": lambda m, p, f, o: ["predict", m, p, "-o", f / o, "-q", "--batch-size", 7],
    "evaluate": lambda m, p, f, o: [
        "evaluate", m, p, "--code-column", "code", "--bootstrap", 0, "-o", f / "report", "--no-report",
    ],
    "estimate": lambda m, p, f, o: ["estimate", p, "--run", m, "-o", f / "shares.csv"],
    "prepare": lambda m, p, f, o: ["data", "prepare", p, "-o", f / "out.csv", "--languages", "none", "-q"],
    "train": lambda m, p, f, o: [
        "train", "model=linear", "model.max_features=60", "data=csv", f"data.train=['{p}']",
        f"data.valid=[{MODELS}/data/valid.csv]", "data.test=[]", "taxonomy=csv",
        f"taxonomy.path={MODELS}/data/tree.csv", "evaluation=quick", "evaluation.report=false", f"run_dir={f / 'run'}",
    ],
}  # fmt: skip


def one(tally: Tally, number: int, kind: str, folder: Path, again: bool) -> None:
    draw, case = tally.random(f"{kind} {number}"), f"{kind} {number}"
    path, options, marks, known = mutant(draw, folder)
    out = draw.choice(["out.csv", "out.csv", "out.jsonl", "out.tsv"]) if kind == "predict" else "out.csv"
    model = MODELS / draw.choice(["linear_topdown", "linear_char", "neural_topdown"])
    options = [f"data.{options[0][2:]}={options[1]}"] if options and kind == "train" else options
    columns = [] if kind == "train" else ["-t", "text"]
    arguments = [*COMMANDS[kind](model, path, folder, out), *columns, *options]
    ended = here(*arguments)
    tally.add(f"{kind}: cases")
    done = tally.judge(case, ended)
    left = sorted(p.name for p in folder.rglob("*") if p.suffix in (".partial", ".lock", ".part"))
    if left and done:
        tally.fault(case, f"left {left}")
    try:
        if done and kind in ("predict", "prepare"):
            account(tally, case, kind, folder, out, marks, known)
        elif done:
            account_sums(tally, case, kind, folder, ended, known)
    except Exception as error:  # an output that is no table, say: the campaign goes on
        tally.fault(case, f"cannot be accounted for: {type(error).__name__}: {error}", ended)
    if again:
        second = Path(tempfile.mkdtemp())
        repeated = forked(*COMMANDS[kind](model, path, second, out), *columns, *options)
        same = _content(folder / out) == _content(second / out)
        tally.add("cases repeated in a process of their own")
        if repeated.code != ended.code or not (same or kind != "predict"):
            tally.fault(case, f"another end in a process of its own: rc {ended.code}", repeated)
        shutil.rmtree(second)


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def run(count: int, seed: int) -> Tally:
    """``count`` tables through predict, a tenth of that through each of the other commands."""
    tally = Tally("tables", seed)
    for kind in COMMANDS:
        of_kind = count if kind == "predict" else max(1, count // 10)
        for number in range(of_kind):
            folder = Path(tempfile.mkdtemp(prefix="hjc-tables-"))
            again = count >= 500 and number % (of_kind // (50 if kind == "predict" else 3)) == 0
            one(tally, number, kind, folder, again)
            shutil.rmtree(folder)
    return tally
