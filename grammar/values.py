"""How values of the language compare: normalisation, folding, and patterns with wildcards.

Queries, stored rows and every store's own index columns go through these functions, so that one value means the same
wherever it is looked at. No function here refuses anything: a text is always foldable.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

#: Curly quotes and characters that nobody sees: pasted text brings both. For character classes.
CURLY_QUOTES: Final = r"\u2018-\u201f"
INVISIBLE: Final = (
    r"\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    r"\ufe00-\ufe0f\ufeff\ud800-\udfff"
)
#: A bare value, without the keywords. A test holds the grammar's WORD to it.
BARE: Final = re.compile(rf"""(?!['$])([^\s()\[\]{{}},"=<>!\\;|&.{CURLY_QUOTES}{INVISIBLE}]|\.(?!\.))+""")
#: The words that are never bare values, in upper case.
KEYWORDS: Final = frozenset({"AND", "OR", "NOT", "IN", "LIKE", "BETWEEN", "IS", "NULL", "SORT"})

# Letters that have no decomposition but are looked up by their plain spelling.
_PLAIN_LETTERS: Final = str.maketrans(
    {"ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE"}
)
_COMBINING_MARKS: Final = re.compile("[\u0300-\u036f]")
_ESCAPED_OR_ANY: Final = re.compile(r"\\([*?\\])|(.)", re.DOTALL)

#: A pattern's parts: literal characters as they are, and these two for the wildcards.
ANY_TEXT: Final = object()
ANY_CHARACTER: Final = object()


def normalise(text: str) -> str:
    """NFC, the form in which all values are kept and compared."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def fold(text: str) -> str:
    """The text without case and accents, in NFC: `García` becomes `garcia`, while か stays apart from が.

    Only U+0300 to U+036F are dropped, so that marks which make another letter (as in Japanese or Hindi) stay.
    """
    if text.isascii():
        return text.lower()
    decomposed = _COMBINING_MARKS.sub("", unicodedata.normalize("NFKD", text))
    folded = unicodedata.normalize("NFKD", decomposed.translate(_PLAIN_LETTERS).casefold())
    return unicodedata.normalize("NFC", _COMBINING_MARKS.sub("", folded))


def code(text: str) -> str:
    """A code (modality, body part, sex) in upper case, as DICOM's code strings are."""
    return normalise(text.upper())


def pattern_parts(pattern: str) -> Iterator[object]:
    r"""The pattern's characters one by one: a str for a literal, `ANY_TEXT` for `*`, `ANY_CHARACTER` for `?`.

    `\*`, `\?` and `\\` are literals.
    """
    for escaped, plain in _ESCAPED_OR_ANY.findall(pattern):
        if escaped:
            yield escaped
        elif plain == "*":
            yield ANY_TEXT
        elif plain == "?":
            yield ANY_CHARACTER
        else:
            yield plain


def has_wildcard(pattern: str) -> bool:
    """Whether the pattern holds a `*` or `?` that is not escaped."""
    return any(not isinstance(part, str) for part in pattern_parts(pattern))
