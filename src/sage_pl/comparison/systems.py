"""Finished runs that are comparable, grouped into systems with one run per seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from sage_pl.comparison.runs import FinishedRun

_MISSING = "nothing"


def comparable(
    runs: Iterable[FinishedRun], ignored: Collection[str] = ()
) -> tuple[dict[str, list[FinishedRun]], list[str]]:
    """Runs by data set, without those that differ from the others in data, candidates or evaluation.

    The most frequent setting of a data set wins. On a tie the whole data set is left out.

    Args:
        runs: of any data sets.
        ignored: keys of a setting in which runs may differ.

    Returns:
        Data set -> its runs, and a message for each run or data set that is left out.
    """
    by_dataset: dict[str, list[FinishedRun]] = {}
    for run in runs:
        by_dataset.setdefault(run.dataset, []).append(run)
    usable, problems = {}, []
    for name, members in by_dataset.items():
        settings = [tuple(sorted((k, v) for k, v in run.setting().items() if k not in ignored)) for run in members]
        (common, votes), *others = Counter(settings).most_common()
        odd = [(run, setting) for run, setting in zip(members, settings, strict=True) if setting != common]
        texts = [f"{run.folder} ({_differences(dict(setting), dict(common))})" for run, setting in odd]
        if others and others[0][1] == votes:
            base = members[settings.index(common)].folder
            problems.append(
                f"{name} is left out: its runs are not comparable, and no setting has the majority. Against {base}: "
                f"{'; '.join(texts)}. Choose by runs=[...]"
            )
            continue
        if odd:
            problems.append(f"{name}: left out as not comparable with the other {votes} runs: {'; '.join(texts)}")
        usable[name] = [run for run, setting in zip(members, settings, strict=True) if setting == common]
    return usable, problems


def systems(
    runs: Sequence[FinishedRun], by: Sequence[str]
) -> tuple[dict[tuple[str, ...], list[FinishedRun]], list[str]]:
    """Runs of one data set by their names in ``by``: one per seed, the newest where a seed occurs twice.

    Args:
        runs: oldest first.
        by: keys that name a system, such as ``["method", "backbone"]``.

    Returns:
        Name -> runs in order of seeds, and remarks: unused runs, and systems whose runs differ in more than the seed.
    """
    newest: dict[tuple[str, ...], dict[int, FinishedRun]] = {}
    remarks = []
    for run in runs:
        name = tuple(run.name_by(key) for key in by)
        older = newest.setdefault(name, {}).get(run.seed)
        if older is not None:
            remarks.append(
                f"{'/'.join(name)} has seed {run.seed} twice: {run.folder} is used, the older {older.folder} is not"
                f"{_recipe_hint(older, run, by)}"
            )
        newest[name][run.seed] = run
    by_system = {name: [seeds[seed] for seed in sorted(seeds)] for name, seeds in newest.items()}
    for name, (first, *others) in by_system.items():
        for other in others:
            if hint := _recipe_hint(first, other, by):
                remarks.append(f"{'/'.join(name)}: {first.folder} and {other.folder} are averaged{hint}")
                break
    return by_system, remarks


def _recipe_hint(a: FinishedRun, b: FinishedRun, by: Sequence[str]) -> str:
    one, other = a.recipe(), b.recipe()
    keys = [key for key in one.keys() | other.keys() if one.get(key) != other.get(key)]
    if not keys:
        return ""
    keys.sort(key=lambda key: (key not in one or key not in other, key.startswith("model."), key))  # clearest first
    pairs = [f"{key}: {one.get(key, _MISSING)} / {other.get(key, _MISSING)}" for key in keys[:3]]
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    apart = f" (to tell them apart: by=[{','.join([*by, keys[0]])}])" if keys[0] in one and keys[0] in other else ""
    return f"; they differ in {', '.join(pairs)}{more}{apart}"


def _differences(setting: Mapping[str, str], common: Mapping[str, str]) -> str:
    keys = sorted(key for key in setting.keys() | common.keys() if setting.get(key) != common.get(key))
    return ", ".join(f"{key} is {setting.get(key, _MISSING)} instead of {common.get(key, _MISSING)}" for key in keys)
