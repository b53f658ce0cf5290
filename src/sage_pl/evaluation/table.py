"""Results as a table: one row per system and metric, one column per group, values in percent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sage_pl.errors import SettingError
from sage_pl.escaping import visible

if TYPE_CHECKING:
    from rich.table import Table

GROUPS = ("overall", "item_head", "item_tail", "item_unseen", "user_short", "user_long")
METRICS = ("ndcg@10", "hr@10")
Rows = Mapping[str, Mapping[str, float]]


def select(metrics: Mapping[str, float], prefix: str) -> dict[str, float]:
    """The metrics below a prefix, without it.

    >>> select({"test/full/hr@10": 0.5, "val/full/hr@10": 0.4}, "test")
    {'full/hr@10': 0.5}
    """
    return {name.removeprefix(f"{prefix}/"): value for name, value in metrics.items() if name.startswith(f"{prefix}/")}


def results_table(rows: Rows, protocol: str, metrics: Sequence[str] = METRICS) -> Table:
    """A table for the terminal, for one protocol.

    Args:
        rows: system (``popularity``, ``plain``, ``sage``) -> metrics named from the protocol on (``full/ndcg@10``,
            ``full/count/item_tail``), as :func:`select` returns them.
        protocol: ``full`` or ``sampled100``.
        metrics: names, one row per system each.

    Raises:
        SettingError: no system has results of the protocol.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(visible(f"{protocol}, in %")), box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    table.add_column("\nmetric\n", no_wrap=True)
    table.add_column("\nsystem\n", no_wrap=True)
    for name, size in zip(GROUPS, _sizes(rows, protocol), strict=True):
        words = name.replace("_", "\n") if "_" in name else f"\n{name}"
        table.add_column(f"{words}\n{size:,.0f}", justify="right", no_wrap=True)
    for metric in metrics:
        for system, values in rows.items():
            cells = (_percent(values.get(f"{protocol}/{metric}{_suffix(group)}")) for group in GROUPS)
            table.add_row(Text(visible(metric)), Text(visible(system)), *cells)
        table.add_section()
    return table


def _sizes(rows: Rows, protocol: str) -> list[float]:
    """Cases of each group."""
    for values in rows.values():
        if f"{protocol}/count" in values:
            return [values.get(f"{protocol}/count{_suffix(group)}", 0) for group in GROUPS]
    protocols = sorted({name.split("/")[0] for values in rows.values() for name in values})
    raise SettingError(f"no system has results of protocol {protocol!r}; there are results of {', '.join(protocols)}")


def _suffix(group: str) -> str:
    return "" if group == "overall" else f"/{group}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f}"
