"""``python -m tests.campaigns NAME [--count N] [--seed S]``: the exit code is 1 where something went wrong."""

import argparse
import importlib
import os
import sys

NAMES = {"tables": 2000, "models": 1000, "kills": 40, "chat": 300, "serve": 3000, "memory": 1_000_000, "threads": 8}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--count", type=int, help=f"cases, rows or threads: {NAMES}")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    module = importlib.import_module(f"tests.campaigns.{given.name}")
    return min(1, module.run(given.count or NAMES[given.name], given.seed).end())


if __name__ == "__main__":
    sys.exit(main())
