"""``python -m hjc.cli``, the same as ``hjc``."""

from hjc.cli import main

main()
