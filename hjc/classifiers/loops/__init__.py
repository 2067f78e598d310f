"""What a linear model does with each character and each weight, as loops that Numba compiles (extra ``fast``).

:mod:`hjc.classifiers.compiled` says when they are taken. Each gives what NumPy's way of the same gives, to the last
bit: the same operations on the same numbers in the same order. Nothing here may be reordered by the compiler, so no
``fastmath``, and no sum depends on the rows beside a row. Compiled code is kept beside these files, or where
NUMBA_CACHE_DIR says. The import takes Numba's.
"""

from hjc.classifiers.loops import rows as _rows
from hjc.classifiers.loops import words as _words
from hjc.classifiers.loops.compiling import NotCompiledError, guarded

ngrams, product, put = guarded(_rows.ngrams), guarded(_rows.product), guarded(_rows.put)
scale, trie, weighed = guarded(_rows.scale), guarded(_rows.trie), guarded(_rows.weighed)
numbers, table_of = guarded(_words.numbers), guarded(_words.table_of)
with_others, words = guarded(_words.with_others), guarded(_words.words)

__all__ = [
    "NotCompiledError",
    "ngrams",
    "numbers",
    "product",
    "put",
    "scale",
    "table_of",
    "trie",
    "weighed",
    "with_others",
    "words",
]
