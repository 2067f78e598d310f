"""Programs that find some packages not installed."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_HIDE = (
    "import sys\n"
    "class Hidden:\n"
    "    def find_spec(self, name, path=None, target=None):\n"
    "        if name.split('.')[0] in sys.argv[2:]:\n"
    "            raise ModuleNotFoundError(name)\n"
    "sys.meta_path.insert(0, Hidden())\n"
)


def printed_without(packages: Sequence[str], code: str, folder: Path) -> list[str]:
    """The lines that a program prints for which these packages are not there; ``sys.argv[1]`` is the folder."""
    command = [sys.executable, "-c", _HIDE + code, str(folder), *packages]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()
