"""Does it help to start the head from the titles of the codes? The bundled sample, two heads, one pass.

python experiments/head_init/run.py [--only NAME] [--collect]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from common import run_plan

PLAN = {
    f"{hierarchy}_{init}": [
        "model=e5",
        f"hierarchy={hierarchy}",
        f"model.head_init={init}",
        "model.max_length=64",
        "trainer.epochs=1",
        "trainer.warmup_steps=30",
    ]
    for hierarchy in ("topdown", "bottomup")
    for init in ("titles", "random")
}

if __name__ == "__main__":
    run_plan("head_init", PLAN, sets=("test/titles", "test/ads"))
