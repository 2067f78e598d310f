"""kill -9 at random moments, then the same command again: what is there is whole, the end that of a quiet run."""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.campaigns.harness import MODELS, Tally, forked, fresh

TRAIN = [
    "train", "data=csv", f"data.train=[{MODELS}/data/train.csv]", f"data.valid=[{MODELS}/data/valid.csv]",
    f"data.test=[{MODELS}/data/test.csv]", "taxonomy=csv", f"taxonomy.path={MODELS}/data/tree.csv", "evaluation=quick",
    "evaluation.report=false",
]  # fmt: skip
TINY = [
    "model=tiny", "model.tiny_hidden=16", "model.tiny_layers=1", "model.tiny_vocabulary=300",
    "model.max_length=24", "trainer.epochs=40", "trainer.batch_size=8", "trainer.checkpoint_minutes=0.01",
]  # fmt: skip


def metrics(folder: Path) -> object:
    found = json.loads((folder / "metrics.json").read_text("utf-8"))
    return json.dumps({k: v for k, v in found.items() if "second" not in k}, sort_keys=True)


def series(
    tally: Tally, kind: str, count: int, arguments: Callable[[Path], list[str]], result: Callable[[Path], object],
    check: Callable[[Path, object], str] = lambda folder, wanted: "",
) -> None:  # fmt: skip
    """Kill until ``count`` kills have hit; where the command ended before, its result must be that of a quiet run."""
    top = Path(tempfile.mkdtemp(prefix="hjc-kills-"))
    quiet = fresh(*arguments(top / "quiet"))
    if quiet.code:
        return tally.fault(kind, "the quiet run failed", quiet)
    wanted, draw, number, kills = result(top / "quiet"), tally.random(kind), 0, 0
    forked("--version")  # starts the process to be forked, which takes longer than what is timed
    started = time.monotonic()
    ended = forked(*arguments(top / "forked"))
    long = time.monotonic() - started
    if ended.code or result(top / "forked") != wanted:
        tally.fault(kind, "another end in a fork", ended)
    while kills < count and number < 10 * count:
        folder = top / f"run{number}"
        ended = forked(*arguments(folder), seconds=draw.uniform(0.1, 1.25 if kills % 4 == 3 else 1.0) * long)
        hit, text = ended.code == -9, ended.out + ended.err
        kills += hit
        tally.add(f"{kind}: {'kills' if hit else 'runs to the end between them'}")
        tally.add(
            *[f"{kind}: starts that went on from a checkpoint or a saved model"]
            * ("going on from" in text or "going on with" in text)
        )
        if hit:
            if wrong := check(folder, wanted):
                tally.fault(f"{kind} kill {kills}", wrong)
            continue
        number += 1
        if ended.code or result(folder) != wanted:
            tally.fault(f"{kind} run {number}", "another end than without kills", ended)
    if kills < count:
        tally.fault(kind, f"only {kills} kills have hit")
    last = fresh(*arguments(top / f"run{number}"))
    tally.add(f"{kind}: runs to the end between them")
    if last.code or result(top / f"run{number}") != wanted:
        tally.fault(kind, "the run after the last kill", last)


def run(count: int, seed: int, *, rows: int = 50_000, kinds: str = "predict prepare linear tiny") -> Tally:
    """``count`` kills of predict and prepare on ``rows`` rows, and of linear and tiny trainings."""
    tally, top = Tally("kills", seed), Path(tempfile.mkdtemp(prefix="hjc-kills-"))
    texts = [f"{a} {b}" for a in ("nurse", "cook", "kierowca", "Arzt") for b in ("wanted", "ward", "bread", "bus")]
    table = top / "in.csv"
    table.write_text("id,text\n" + "".join(f"{i},{texts[i * 7 % 16]} {i}\n" for i in range(rows)), "utf-8")

    def output(folder: Path) -> object:
        return (folder / "out.csv").read_bytes()

    def whole(folder: Path, wanted: object) -> str:
        """OUT is not there, or whole; OUT.partial is the start of it."""
        found = {p.name: p.read_bytes() for p in folder.glob("out.csv*")}
        wrong = [n for n, data in found.items() if n == "out.csv" and data != wanted]
        if not isinstance(wanted, bytes) or not wanted.startswith(found.get("out.csv.partial", b"")):
            wrong.append("out.csv.partial")
        more = [p.name for p in folder.iterdir() if p.is_dir()]
        return f"damaged {wrong}, left {more}" if wrong or more else ""

    def coding(*given: object) -> Callable[[Path], list[str]]:
        def made(folder: Path) -> list[str]:
            folder.mkdir(exist_ok=True)
            return [*map(str, given), "-t", "text", "-o", str(folder / "out.csv"), "--overwrite", "-q"]

        return made

    for kind in kinds.split():
        match kind:
            case "predict":
                series(tally, kind, count, coding("predict", MODELS / "linear_topdown", table), output, whole)
            case "prepare":
                series(tally, kind, count, coding("data", "prepare", table, "--languages", "none"), output, whole)
            case "linear":
                series(tally, kind, count, lambda f: [*TRAIN, "model=linear", f"run_dir={f}"], metrics)
            case "tiny":
                series(tally, kind, count, lambda f: [*TRAIN, *TINY, f"run_dir={f}"], metrics)
    return tally
