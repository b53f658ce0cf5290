"""Frames of other libraries as frames of polars."""

from __future__ import annotations

from typing import Any

import polars as pl

from sage_pl.data.sources.raw import DataError


def polars_frame(frame: Any, what: str) -> pl.DataFrame:
    """A frame of polars, pandas or Arrow, or a mapping of columns, as one of polars.

    Raises:
        DataError: it is none.
    """
    try:
        return frame.collect() if isinstance(frame, pl.LazyFrame) else pl.DataFrame(frame)
    except (TypeError, ValueError, ImportError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"{what} is a {type(frame).__name__}, wanted a frame of polars, pandas or Arrow ({error})"
        ) from error
