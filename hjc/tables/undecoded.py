"""Cells of bytes that are no text. No import of pyarrow: models that were exported are read without it."""


class Undecoded(str):
    """A cell of bytes that are no UTF-8, as base64: it can be written again, and is no text."""

    __slots__ = ()
