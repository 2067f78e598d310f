"""Peak memory of commands on 100,000 and on more rows, of a linear model of eight leaves."""

import os
import subprocess
import tempfile
import time
from pathlib import Path

from tests.campaigns.harness import MODELS, Tally, command, environment

FEW = 100_000


def peak(*arguments: object) -> tuple[int, float, float]:
    """Exit code, peak resident memory in MB, seconds."""
    started = time.monotonic()
    process = subprocess.Popen(
        command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_maxrss / 1024, time.monotonic() - started


def run(count: int, seed: int, *, kinds: str = "predict estimate evaluate") -> Tally:
    """predict must not need more than 1.1 times as much for ``count`` rows as for a tenth of them."""
    tally, top = Tally("memory", seed), Path(tempfile.mkdtemp(prefix="hjc-memory-"))
    model, codes = MODELS / "linear_topdown", ["211", "22", "511", "521", "811", "812"]
    found: dict[tuple[str, int], float] = {}
    for rows in (min(FEW, count // 10), count):
        table = top / f"{rows}.csv"
        with table.open("w", encoding="utf-8") as stream:
            stream.write("id,text,code\n")
            stream.writelines(f"{i},nurse ward cook {i % 977} kierowca,{codes[i % 6]}\n" for i in range(rows))
        for kind in kinds.split():
            arguments = {
                "predict": ["predict", model, table, "-t", "text", "-o", top / f"{rows}.out.csv", "-q"],
                "estimate": ["estimate", table, "--run", model, "-t", "text", "-o", top / f"{rows}.shares.csv"],
                "evaluate": ["evaluate", model, table, "-t", "text", "--code-column", "code", "--bootstrap", "0"],
            }[kind]
            code, most, seconds = peak(*arguments)
            found[kind, rows] = most
            print(f"{kind}, {rows:,} rows: peak {most:,.0f} MB, {seconds:.0f} s, rc {code}", flush=True)
            tally.add("commands")
            if code:
                tally.fault(f"{kind} {rows}", f"rc {code}")
            if kind == "predict" and code == 0:
                with (top / f"{rows}.out.csv").open("rb") as stream:
                    if (written := sum(1 for _ in stream) - 1) != rows:
                        tally.fault(f"{kind} {rows}", f"{written} rows out")
                (top / f"{rows}.out.csv").unlink()
        table.unlink()
    for kind in kinds.split():
        few, many = [most for (name, _), most in found.items() if name == kind]
        print(f"{kind}: {many / few:.2f} times the memory for {count / min(FEW, count // 10):.0f} times the rows")
        if kind == "predict" and many > 1.1 * few:
            tally.fault(kind, f"{many / few:.2f} times the memory")
    return tally
