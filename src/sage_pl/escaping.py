"""Foreign text where people read it: ids, titles, names and paths are shown as they are and do nothing else.

Data for the next command (parquet, JSON, arrays) hold every text unchanged; only what is shown passes through here. HTML is
escaped by the report's templates.
"""

from __future__ import annotations

import copy
import logging
import re
from pathlib import PurePath

_UNSEEN = (
    re.compile(  # control characters, separators of lines, marks without width, directions of writing, lone surrogates
        "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
        "\ud800-\udfff\U000e0000-\U000e007f]"
    )
)
_TEX = {
    **{c: f"\\{c}" for c in "_%&#${}"},
    **{c: f"{{{c}}}" for c in "[]"},  # a bracket after the end of a line would be its optional argument
    "\\": r"\textbackslash{}",
    "^": r"\^{}",
    "~": r"$\sim$",
    "*": "$^*$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    '"': r"{\char34}",
    "±": r"$\pm$",
    "–": "--",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
    "§": r"\S{}",
    "\0": "{}",
}
_MARKDOWN = re.compile(
    r"[\\`*\[\]<>|~#$]|&(?=#?\w+;)"  # signs of markup anywhere
    r"|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])"  # inside a word it is none
    r"|^[-+=]"  # at the beginning: a list, a rule
)
_FORMULA = re.compile(r"'*[=+\-@]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def visible(text: str, keep: str = "") -> str:
    r"""Unseen characters by their names: controls, line ends, marks that reverse the writing, lone surrogates.

    Args:
        text: any.
        keep: characters that stay.

    >>> visible("\x1b[31mred\n")
    '\\x1b[31mred\\n'
    """
    return _UNSEEN.sub(lambda m: m[0] if m[0] in keep else m[0].encode("unicode_escape").decode(), text)


def tex(text: str) -> str:
    """Text of a LaTeX document, which may begin a line of a table.

    >>> tex("50%_[off]")
    '50\\\\%\\\\_{[}off{]}'
    """
    text = re.sub(r"([-',])(?=\1)", "\\1\0", visible(text))  # two would be one sign
    return "".join(_TEX.get(c, c) for c in text)


def markdown(text: str) -> str:
    r"""Text of a Markdown paragraph, heading, list item or cell.

    >>> markdown("a_b | <b>")
    'a_b \\| \\<b\\>'
    """
    text = re.sub(r"^(\d+)([.)])", r"\1\\\2", _MARKDOWN.sub(lambda m: f"\\{m[0]}", visible(text)))
    return re.sub(r"^ | $", "&#32;", text)


def csv_cell(text: str) -> str:
    """A text of a CSV file that no spreadsheet takes for a formula: a ``'`` before ``= + - @``. Numbers stay numbers.

    One ``'`` less is the text again, since a text that begins with ``'`` and one of these signs gets one more.

    >>> csv_cell("=1+1"), csv_cell("-0.5")
    ("'=1+1", '-0.5')

    Source: OWASP, CSV injection. Tabs and line ends, its further signs, are escaped by :func:`visible`.
    """
    text = visible(text)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


class LogFormatter(logging.Formatter):
    """A record begins one line. Line ends of its arguments are shown by name; further lines of its own, as of a traceback,
    are indented, so that no text in it passes for a record.
    """

    def format(self, record: logging.LogRecord) -> str:
        if isinstance(arguments := record.args, tuple):
            record = copy.copy(record)
            record.args = tuple(visible(str(a)) if isinstance(a, str | PurePath) else a for a in arguments)
        return visible(super().format(record), keep="\n\t").replace("\n", "\n  ")
