"""Titles of pages, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sage_pl.comparison.runs import FinishedRun
from sage_pl.report import labels
from sage_pl.report.reading import Subject

_TABLES = ("csv", "folder")  # data sets that conf/dataset/ names by their form
_NOTHING = ("none", "nothing", "null", "None")


def of_run(run: FinishedRun) -> str:
    """``Plain SASRec on Beauty``, ``LLM-ESR with GRU4Rec and learned fusion on Beauty, refit``."""
    method, backbone = (run.choices.get(key, "") for key in ("method", "backbone"))
    name = labels.title(method)
    if backbone and backbone not in _NOTHING and not run.untrained:
        name += f"{' ' if method == 'plain' else ' with '}{labels.title(backbone)}"
    if run.scorer not in _NOTHING:
        name += f" and {run.scorer.replace('_', ' ')}"
    return f"{name} on {_data(run)}{', refit' if run.refit else ''}"


def _data(run: FinishedRun) -> str:
    """A data set as a title has it; the user's own table by the name of its file, unless it has a name."""
    data = run.config.get("dataset")
    path = data.get("path") if isinstance(data, Mapping) and run.dataset in _TABLES else None
    return Path(str(path)).name if path else labels.title(run.dataset)


def of_comparison(subjects: Sequence[Subject], by: Sequence[str]) -> str:
    """``SAGE against plain on Beauty``, ``SAGE and 3 more against plain on Beauty and Yelp``, ``24 systems on Beauty``."""
    first = subjects[0]
    datasets = labels.listed([_data(subject.first().run) for subject in subjects])
    names = _names(first, by)
    base, focus = names.get(first.baseline or ""), names.get(first.focus or "")
    if base and focus:
        others = [name for name in names.values() if name not in (base, focus)]
        some = [*map(_inside, others)] if len(others) <= 2 else [f"{len(others)} more"]
        return f"{labels.listed([focus, *some])} against {_inside(base)} on {datasets}"
    first_name, *rest = names.values()
    return f"{labels.listed([first_name, *map(_inside, rest)]) if len(names) <= 3 else f'{len(names)} systems'} on {datasets}"


def _names(subject: Subject, by: Sequence[str]) -> dict[str, str]:
    """System -> its name by the keys that differ between systems."""
    parts = {name: [runs[0].run.name_by(key) for key in by] for name, runs in subject.systems.items()}
    differ = [i for i in range(len(by)) if len({values[i] for values in parts.values()}) > 1] or list(range(len(by)))
    names = {}
    for name, values in parts.items():
        words = [f"no {by[i]}" if values[i] in _NOTHING else values[i] for i in differ]
        names[name] = ", ".join([labels.title(words[0]), *(word.replace("_", " ") for word in words[1:])])
    unique = len(set(names.values())) == len(names)
    return names if unique and by else {name: labels.title(name) for name in parts}


def _inside(name: str) -> str:
    """A name within a title: ``Text only`` as ``text only``; an acronym stays."""
    return name[0].lower() + name[1:] if name[1:2].islower() else name
