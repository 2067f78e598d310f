"""When a linear model takes the compiled loops of :mod:`hjc.classifiers.loops` (extra ``fast``: Numba).

They give the numbers of NumPy's way to the last bit, some times sooner, but must be compiled once on a machine (some
seconds) and loaded in each process (half a second). So they wait until a process has read so many characters that this
pays, and small batches, as those of a service, never ask for them.
"""

import importlib.util
import warnings
from collections.abc import Sequence
from typing import Any

#: characters of a process that are read without the loops: a second or two of work
SOON = 4_000_000
#: fewer texts at once are read without them
FEW_TEXTS = 128


class Compiled:
    """The loops of this process, as soon as they are worth it.

    Attributes:
        loops: the module, None until then.
    """

    def __init__(self) -> None:
        self.loops: Any = None
        self._characters = 0
        self._never = False

    def after(self, texts: Sequence[str]) -> Any:
        """The loops for these texts, None where they are to be read without."""
        if self._never or len(texts) < FEW_TEXTS:
            return None
        if self.loops is None:
            self._characters += sum(map(len, texts))
            if self._characters >= SOON:
                self.load()
        return self.loops

    def load(self) -> bool:
        """Load the loops now; whether they are there."""
        if self.loops is None and not self._never:
            if importlib.util.find_spec("numba") is None:
                self._never = True
            else:
                try:
                    from hjc.classifiers import loops
                except Exception as error:  # Numba refuses versions of NumPy and Python that it does not know
                    self._never = True
                    warnings.warn(
                        f"Numba is installed and cannot be imported ({error}): linear models go on without their "
                        "compiled loops; install versions that fit each other (pip install 'hjc[fast]') or remove it",
                        stacklevel=2,
                    )
                else:
                    self.loops = loops
        return self.loops is not None

    def use(self, wanted: bool) -> None:
        """From now on take the loops for all batches that are not small, or never.

        Raises:
            ImportError: they are wanted, and the extra is not installed.
        """
        self.loops, self._never = None, not wanted
        if wanted and not self.load():
            raise ImportError("the compiled loops of linear models need Numba: pip install 'hjc[fast]'")

    def leave_out(self, why: str) -> None:
        """This process goes on without the loops; a warning says why."""
        self.loops, self._never = None, True
        warnings.warn(
            f"the compiled loops (Numba) {why}: they are left out, and linear models go on at the rate that they have "
            "without the extra `fast`",
            stacklevel=2,
        )


COMPILED = Compiled()
