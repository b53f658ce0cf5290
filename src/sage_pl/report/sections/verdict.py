"""The result in a word and a sentence: a system beside its baseline."""

from __future__ import annotations

from collections.abc import Sequence

from sage_pl.evaluation.floors import is_floor
from sage_pl.report import labels
from sage_pl.report.blocks import Verdict
from sage_pl.report.reading import Record, Subject

BETTER, WORSE, UNCLEAR, EARLY = "better", "worse", "unclear", "not converged"
_GROUPS = ("item_head", "item_tail", "item_unseen")
_MOST = 3  # sentences of a page


def verdicts(subject: Subject) -> list[Verdict]:
    """One per system with a baseline, the one in focus first, then the best; of many the first three."""
    rows = []
    for name in subject.systems:
        one = subject.find(name)
        if one is not None and one.difference is not None:
            rows.append((name == subject.focus, one.difference, Verdict(word(subject, one), _sentence(subject, one))))
    rows.sort(key=lambda row: row[:2], reverse=True)
    return [verdict for *_, verdict in rows[:_MOST]]


def without_baseline(subjects: Sequence[Subject], baseline: str) -> list[Verdict]:
    """In place of a verdict, where no data set has a system that is the baseline."""
    names = labels.listed([labels.shorten(name, 40) for name in dict.fromkeys(n for s in subjects for n in s.systems)])
    text = (
        f"No system is compared: none, or more than one, is the baseline {baseline}. Name one: baseline=... of {names}."
    )
    return [Verdict(UNCLEAR, text)] if baseline not in ("None", "null", "") else []


def word(subject: Subject, record: Record) -> str:
    """``better`` or ``worse`` only above the noise: over users and seeds in a comparison, over users against a floor."""
    if early(subject, record):
        return EARLY
    if record.difference is None:
        return UNCLEAR
    if against_floor(record):
        low, high = record.difference_low, record.difference_high
        return BETTER if low is not None and low > 0 else WORSE if high is not None and high < 0 else UNCLEAR
    if record.mark != "*":
        return UNCLEAR
    return BETTER if record.difference > 0 else WORSE


def against_floor(record: Record) -> bool:
    """A converged single run against the floor: the noise of seeds is unknown, the interval over users is known."""
    return is_floor(record.baseline or "") and record.seeds == 1 and record.converged is not False


def early(subject: Subject, record: Record) -> list[str]:
    """Those of a system and its baseline that had not converged."""
    base = subject.find(record.baseline or "", record.group, record.protocol, record.metric)
    return [one.system for one in (record, base) if one and one.converged is False]


def lift(subject: Subject, record: Record) -> str:
    """The difference as a share of the baseline."""
    base = subject.find(record.baseline or "", record.group, record.protocol, record.metric)
    return labels.relative(record.difference, base.mean if base else None)


def _sentence(subject: Subject, one: Record) -> str:
    metric, name = labels.metric(one.metric), one.system
    if names := early(subject, one):
        why = f"{' and '.join(names)} had not converged (the best epoch is the last)"
        return f"{name} against {one.baseline}: no finding, since {why}. Raise trainer.max_epochs."
    interval = f"{labels.points(one.difference_low)} to {labels.points(one.difference_high)}"
    share = "" if (text := lift(subject, one)) == "–" else f", {text}"
    text = f"{name} against {one.baseline}: {metric} over all users {labels.points(one.difference)} points{share} "
    text += f"(95 % interval {interval}).{_by_group(subject, name)}"
    single = one.mark == "~" and one.seeds == 1 and not is_floor(one.baseline or "")
    doubt = " One seed, so not yet a finding." if single else ""
    return text + doubt + (" Measured on the run that the refit repeats." if one.refit else "")


def _by_group(subject: Subject, name: str) -> str:
    """``Better for head items (+26 %); worse for tail items (−49 %).``"""
    groups: dict[str, list[str]] = {}
    for group in _GROUPS:
        one = subject.find(name, group)
        if one is not None and one.difference is not None and one.cases:
            share = "from 0" if (text := lift(subject, one)) == "–" else text
            groups.setdefault(word(subject, one), []).append(f"{labels.group(group)} ({share})")
    parts = [f"{word} for {labels.listed(names)}" for word, names in groups.items()]
    text = "; ".join(parts)
    return f" {text[0].upper()}{text[1:]}." if text else ""
