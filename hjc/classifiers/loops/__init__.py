"""What a linear model does with each character and each weight, as loops that Numba compiles (extra ``fast``).

:mod:`hjc.classifiers.compiled` says when they are taken. Each gives what NumPy's way of the same gives, to the last
bit: the same operations on the same numbers in the same order. Nothing here may be reordered by the compiler, so no
``fastmath``, and no sum depends on the rows beside a row. Compiled code is kept beside these files, or where
NUMBA_CACHE_DIR says. The import takes Numba's.
"""

from hjc.classifiers.loops.rows import ngrams, product, put, scale, trie, weighed
from hjc.classifiers.loops.words import numbers, table_of, with_others, words

__all__ = ["ngrams", "numbers", "product", "put", "scale", "table_of", "trie", "weighed", "with_others", "words"]
