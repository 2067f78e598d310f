"""Which encoding a file has. UTF-8 and byte order marks are certain; anything else the user has to say."""

import codecs

#: tried to show the user what the bytes would be; first those of the languages that job data comes in
CANDIDATES = ("cp1250", "iso-8859-2", "cp1252", "cp1251", "utf-16-le")

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: its mark begins with the same two bytes
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def sniff_encoding(head: bytes, name: str) -> str:
    """The encoding that the first bytes of a file show: by its byte order mark, else UTF-8.

    Raises:
        ValueError: every other byte is zero, so it is UTF-16 without a mark.
    """
    for mark, codec in _MARKS:
        if head.startswith(mark):
            return codec
    if len(head) >= 8:
        for offset, codec in ((1, "utf-16-le"), (0, "utf-16-be")):
            zeros = head[offset::2]
            if zeros.count(0) > 0.4 * len(zeros):
                raise ValueError(f"{name}: looks like UTF-16 without a byte order mark; set the encoding to {codec}")
    return "utf-8"


def explain_undecodable(name: str, codec: str, error: UnicodeDecodeError) -> str:
    """What the undecodable bytes are in other encodings, so that a person can pick the right one."""
    data, at = bytes(error.object), error.start
    start = max(data.rfind(b"\n", 0, at) + 1, at - 20)
    stop = data.find(b"\n", at)
    piece = data[start : min(stop if stop >= 0 else len(data), at + 20)]
    shown = []
    for candidate in CANDIDATES:
        if codecs.lookup(candidate).name == codecs.lookup(codec).name:
            continue
        try:
            text = piece.decode(candidate).strip()
        except UnicodeDecodeError:
            continue
        if candidate == "utf-16-le" and not all(c.isprintable() and ord(c) < 0x2000 for c in text):
            continue
        shown.append(f"{candidate} ({text!r})")
    return (
        f"{name}: byte 0x{data[at]:02x} is not {codec}. Set the encoding to the one that reads right: "
        + (", ".join(shown) or ", ".join(CANDIDATES))
        + "; or convert the file to UTF-8"
    )
