"""LLM-enhanced, long-tail sequential recommendation. Start reading at ``docs/architecture.md``, or at ``docs/python.md``.

``fit``, ``load``, ``compare`` and ``Model`` are imported when they are first used, so that importing the package takes no time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sage_pl.api import Compared, Model, compare, fit, load

__version__ = "0.1.0"
__all__ = ["Compared", "Model", "compare", "fit", "load"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module("sage_pl.api"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
