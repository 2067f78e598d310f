"""A loaded model in many threads, coroutines and processes at once, and pickled: always the same answers."""

import asyncio
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed

import hjc
from tests.campaigns.harness import MODELS, Tally
from tests.campaigns.models import TEXTS

NAMES = ["linear_topdown", "neural_topdown", "hybrid_mixture", "retrieval_rules"]


def ask(model: Any, number: int = 0) -> Any:
    """The answers of a model, or of one in a directory; texts are turned by ``number``."""
    model = hjc.load(model) if isinstance(model, Path) else model
    at = [(i + number) % len(TEXTS) for i in range(len(TEXTS))]
    return model.predict_log_proba([TEXTS[i] for i in at])[np.argsort(at)]


async def gathered(model: Any, count: int) -> list[Any]:
    return await asyncio.gather(*(asyncio.to_thread(ask, model, i) for i in range(count)))


def run(count: int, seed: int, *, names: list[str] = NAMES, spawn: bool = True) -> Tally:
    """``count`` threads (and twenty times as many calls in them), coroutines; two processes of each kind."""
    tally = Tally("threads", seed)
    for name in names:
        model = hjc.load(MODELS / name)
        wanted = ask(model)

        def same(kind: str, found: Any, name: str = name, wanted: Any = wanted) -> None:
            for number, answer in enumerate(found):
                tally.add(f"{kind}: calls")
                if not np.allclose(answer, wanted, atol=1e-6, rtol=0):
                    tally.fault(f"{name} {kind} {number}", f"answers differ by {np.abs(answer - wanted).max():.3g}")

        with ThreadPoolExecutor(count) as pool:
            same("threads", pool.map(ask, [model] * 20 * count, range(20 * count)))
        same("asyncio", asyncio.run(gathered(model, 4 * count)))
        same("pickle", [ask(pickle.loads(pickle.dumps(model)))])
        for kind in ("fork", "spawn") if spawn else ("fork",):
            with ProcessPoolExecutor(2, multiprocessing.get_context(kind)) as processes:
                same(f"{kind}, pickled", processes.map(ask, [model] * 6, range(6)))
                same(f"{kind}, loaded there", processes.map(ask, [MODELS / name] * 2, range(2)))
        if spawn:
            same("joblib", Parallel(2)(delayed(ask)(model, i) for i in range(6)))
    return tally
