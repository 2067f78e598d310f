"""Letters as people type them who have no other keyboard: without their marks."""

import re
import unicodedata
from functools import cache

#: Latin and Greek letters; in other scripts a mark makes another letter (й is no и)
_BLOCKS = ((0xC0, 0x250), (0x370, 0x400), (0x1E00, 0x2000))
#: strokes are no marks to Unicode
_STROKES = {"ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ø": "o", "Ø": "O", "ħ": "h", "Ħ": "H", "ŧ": "t", "Ŧ": "T"}
#: marks that no letter of Unicode has joined to this one (ẹ́, x̄)
_LOOSE = re.compile("(?<=[A-Za-z\u00c0-\u024f\u0370-\u03ff\u1e00-\u1fff])[\u0300-\u036f]+")


@cache
def _plain() -> dict[int, str]:
    table = {ord(letter): bare for letter, bare in _STROKES.items()}
    for point in (p for block in _BLOCKS for p in range(*block)):
        bare = unicodedata.normalize("NFD", chr(point))
        if len(bare) > 1 and bare[0].isalpha():
            table[point] = table.get(ord(bare[0]), bare[0])
    return table


def plain_letters(text: str) -> str:
    """The text with Latin and Greek letters without their marks: "sef birou" of "șef birou", "lodz" of "łódź".

    A letter stays one letter. German ü becomes u, not ue.
    """
    if text.isascii():
        return text
    return _LOOSE.sub("", unicodedata.normalize("NFC", text).translate(_plain()))
