"""A page of HTML that a notebook shows."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Page:
    """A self-contained page.

    Args:
        path: the file.
    """

    path: Path

    def _repr_html_(self) -> str:
        """The page in a frame of its own, whose styles and policy stay inside."""
        page = html.escape(self.path.read_text(encoding="utf-8"), quote=True)
        return f'<iframe srcdoc="{page}" title="report" style="width: 100%; height: 80vh; border: 0"></iframe>'
