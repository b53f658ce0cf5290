"""Finished runs that are comparable, grouped into systems with one run per seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from sage_pl.comparison.runs import FinishedRun

_MISSING = "nothing"
Recipe = frozenset[tuple[str, str]]  # decisive settings


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
    runs: Sequence[FinishedRun], by: Sequence[str], ignored: Collection[str] = ()
) -> tuple[dict[tuple[str, ...], list[FinishedRun]], list[str]]:
    """Runs of one data set by their names in ``by``: one per seed, the newest where a seed occurs twice.

    Runs of one name that differ in more than the seed are systems of their own. Their names have one more part, the
    settings that tell them apart: ``sage/optimizer.lr=0.01``. So are refits: ``sage/refit``.

    Args:
        runs: oldest first.
        by: keys that name a system, such as ``["method", "backbone"]``.
        ignored: keys of settings in which runs of a system may differ.

    Returns:
        Name -> runs in order of seeds, and remarks: unused runs, and names that stand for several systems.
    """
    named: dict[tuple[str, ...], dict[Recipe, list[FinishedRun]]] = {}
    for run in runs:
        name = tuple(run.name_by(key) for key in by)
        recipes = named.setdefault(name if run.refit is None else (*name, "refit"), {})
        recipe = frozenset((key, value) for key, value in run.recipe().items() if key not in ignored)
        recipes.setdefault(recipe, []).append(run)
    by_system, remarks = {}, []
    for name, recipes in named.items():
        if len(recipes) > 1:
            remarks.append(_several(name, list(recipes), by))
        for suffix, members in zip(_suffixes(list(recipes)), recipes.values(), strict=True):
            own_name = (*name, suffix) if suffix else name
            by_system[own_name], notes = _by_seed("/".join(own_name), members)
            remarks += notes
    return by_system, remarks


def _by_seed(label: str, runs: Sequence[FinishedRun]) -> tuple[list[FinishedRun], list[str]]:
    """The newest run of each seed in order of seeds, and a remark for each older one."""
    newest: dict[int, FinishedRun] = {}
    remarks = []
    for run in runs:
        if older := newest.get(run.seed):
            remarks.append(f"{label} has seed {run.seed} twice: {run.place} is used, the older {older.place} is not")
        newest[run.seed] = run
    return [newest[seed] for seed in sorted(newest)], remarks


def _varying(recipes: Sequence[Recipe]) -> list[str]:
    """Keys of the settings in which recipes differ, the clearest first."""
    every = [dict(recipe) for recipe in recipes]
    common = frozenset[tuple[str, str]].intersection(*recipes)
    keys = {key for recipe in recipes for key, _ in recipe - common}
    return sorted(keys, key=lambda key: (any(key not in one for one in every), key.startswith("model."), key))


def _suffixes(recipes: Sequence[Recipe]) -> list[str]:
    """The fewest settings that tell each recipe from the others, in the order of :func:`_varying`; "" for a single one."""
    texts = [""] * len(recipes)
    for key in _varying(recipes):
        if len(set(texts)) == len(recipes):
            break
        values = [f"{key}={dict(recipe).get(key, _MISSING)}" for recipe in recipes]
        longer = [f"{text} {value}".strip() for text, value in zip(texts, values, strict=True)]
        texts = longer if len(set(longer)) > len(set(texts)) else texts
    return texts


def _several(name: tuple[str, ...], recipes: Sequence[Recipe], by: Sequence[str]) -> str:
    """A remark on a name whose runs differ in more than the seed."""
    keys = _varying(recipes)
    every = [dict(recipe) for recipe in recipes]
    pairs = [f"{key}: {' / '.join(dict.fromkeys(one.get(key, _MISSING) for one in every))}" for key in keys[:3]]
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    in_all = all(keys[0] in one for one in every)
    apart = f" (to name them by it: by=[{','.join([*by, keys[0]])}])" if in_all else ""
    return (
        f"{'/'.join(name)} stands for {len(recipes)} systems, which are not averaged since they differ in more than the "
        f"seed: {', '.join(pairs)}{more}{apart}"
    )


def _differences(setting: Mapping[str, str], common: Mapping[str, str]) -> str:
    keys = sorted(key for key in setting.keys() | common.keys() if setting.get(key) != common.get(key))
    return ", ".join(f"{key} is {setting.get(key, _MISSING)} instead of {common.get(key, _MISSING)}" for key in keys)
