"""The quick way for simple files: polars reads them, and its rows are counted against the file's lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from sage_pl.data.sources.compressed import is_plain
from sage_pl.data.sources.layout import QUOTE, Layout
from sage_pl.data.sources.lines import AUTO, encoding_of
from sage_pl.data.sources.rows import BLANKS

_BLOCK = 1 << 22  # bytes read at a time


def read_simple(path: Path, separator: str, width: int, at: Sequence[int], layout: Layout) -> pl.DataFrame | None:
    """All fields at the places ``at`` of all lines as text, or None where polars could err.

    A file is simple if it is UTF-8, not compressed, has no quotes, no blank lines and no line ends but ``\\n`` and ``\\r\\n``,
    and as many separators as lines of ``width`` fields have.
    """
    if not is_plain(path) or encoding_of(path, layout.encoding) != "utf-8" or separator == BLANKS or len(separator) > 1:
        return None
    quote = None if layout.quote is None else QUOTE if layout.quote == AUTO else layout.quote
    lines = _simple_lines(path, separator.encode(), width, b"" if quote is None else quote.encode())
    if lines is None:
        return None
    names = [str(place) for place in range(width)]
    scan = pl.scan_csv(
        path,
        separator=separator,
        has_header=False,
        quote_char=None,
        schema=dict.fromkeys(names, pl.String),
        glob=False,
    )
    try:
        frame = scan.select(names[place] for place in dict.fromkeys(at)).collect(engine="streaming")
    except pl.exceptions.ComputeError:  # a row has too many fields, and another too few
        return None
    return frame.fill_null("") if frame.height == lines else None


def _simple_lines(path: Path, separator: bytes, width: int, quote: bytes) -> int | None:
    """The number of lines, or None if one of them is not simple."""
    if len(separator) > 1:
        return None
    lines = separators = 0
    for part in _whole_lines(path):
        strange = (quote and quote in part) or b"\0" in part or b"\n\n" in part or b"\n\r\n" in part
        if strange or part.startswith((b"\n", b"\r\n")) or part.count(b"\r") != part.count(b"\r\n"):
            return None
        try:
            part.decode("utf-8")
        except UnicodeDecodeError:
            return None
        lines += part.count(b"\n") + (not part.endswith(b"\n"))
        separators += part.count(separator)
    return lines if separators == lines * (width - 1) else None


def _whole_lines(path: Path) -> Iterator[bytes]:
    """The file's bytes in blocks that end with a line, but for the last."""
    rest = b""
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            body, end, block = block.rpartition(b"\n")
            if end:
                yield rest + body + end
                rest = block
            else:
                rest += block
    if rest:
        yield rest
