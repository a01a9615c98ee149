"""Text from outside, made fit for where it goes: the one place where it is escaped.

Names of clips, files, data sets, categories and layers come from files and callers, and may hold
anything. To a terminal they go through :func:`tell`, onto a page through :func:`as_html`, into a
file's name through :func:`as_file_name`; figures take them as they are (``study.figures.saving``),
and the report's template escapes by itself.

Trap: a page of Jupyter's also typesets what stands between dollar signs.
"""

from __future__ import annotations

import html
import re
import sys
import unicodedata

from .files import digest

LONGEST_NAME = 150  # characters of a name that becomes a part of a file's name
# Of letters that are written from right to left: they would show the rest of a line reversed.
TURNS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
# Control characters, line and paragraph separators, and halves of a character
UNPRINTABLE = ("Cc", "Zl", "Zp", "Cs")


def as_plain(text: object, lines: bool = False, most: int | None = None) -> str:
    """Text of which a terminal shows every character and obeys none.

    Parameters
    ----------
    text : object
        Its ``str`` is taken.
    lines : bool
        Leave line breaks and tabs as they are.
    most : int, optional
        Characters that are kept; a longer text ends in "…".

    Examples
    --------
    >>> as_plain("\\x1b[31mred")
    '\\\\x1b[31mred'
    """
    kept = "\n\t" if lines else ""
    shown = "".join(_shown(character, kept) for character in str(text))
    if most is not None and len(shown) > most:
        shown = shown[: most - 1] + "…"
    return shown


def tell(text: object, aside: bool = False) -> None:
    """Print lines to the terminal, :func:`as_plain`.

    aside : to standard error, for what is said beside a command's result
    """
    print(as_plain(text, lines=True), file=sys.stderr if aside else sys.stdout, flush=aside)


def _shown(character: str, kept: str) -> str:
    """A character, or its number where a terminal would obey it."""
    obeyed = unicodedata.category(character) in UNPRINTABLE or character in TURNS
    if not obeyed or character in kept:
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def as_html(text: object) -> str:
    """Text as HTML that shows it as it is, in an element; not for attributes.

    Nothing in it is markup, and nothing is typeset as mathematics.
    """
    escaped = html.escape(as_plain(text), quote=True)
    # A formula does not reach across an element's edge.
    return re.sub(r"([$\\])", r"<span>\1</span>", escaped)


def as_file_name(name: object) -> str:
    """A name as a part of a file's name: it leads into no other folder, and is not too long.

    An ordinary name stays what it is.
    """
    text = str(name)
    safe = re.sub(r"[/\\\0]", "_", as_plain(text))
    if len(safe) > LONGEST_NAME or len(safe.encode()) > LONGEST_NAME:
        safe = f"{safe[: LONGEST_NAME // 4]}-{digest(text)[:8]}"
    return safe
