"""The origin of the numbers: data, artifacts, configuration, versions, and the command to repeat them."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Mapping
from typing import Any

from sage_pl.artifacts.plain import read_yaml
from sage_pl.comparison.runs import EVALUATION
from sage_pl.report import labels
from sage_pl.report.blocks import Block, Code, Column, Facts, MissingError, Prose, Section, Table, Value
from sage_pl.report.reading import RunFiles, Subject

NAME, TITLE = "provenance", "Provenance"


def make(subject: Subject) -> Section:
    """Of a single run everything; of several, each run's command and the differences of their configurations."""
    runs = [(name, files) for name, members in subject.systems.items() for files in members]
    first = runs[0][1]
    blocks: list[Block] = [Facts(_data(first)), _artifacts(runs), *_commands(runs), *_versions(runs)]
    if len(runs) > 1:
        blocks.append(_differences(runs))
    else:
        text = labels.without_folders(_yaml(first.run.config))
        blocks.append(Code(text, "configuration", "The whole configuration"))
    return Section(NAME, TITLE, blocks)


def _data(files: RunFiles) -> dict[str, tuple[str, str]]:
    config: Any = files.run.config
    facts = {
        "data set": (files.run.dataset, ""),
        "data key": (files.run.artifact("sequences").name, "artifact sequences"),
    }
    catalog = config.get("catalog", {})
    for key, label in (("n_users", "users"), ("n_items", "items")):
        if key in catalog:
            facts[label] = (f"{int(catalog[key]):,}", "")
    evaluation = config.get("evaluation", {})
    facts["seen items"] = (files.run.setting()["evaluation.seen"], "keep: they may be recommended; mask: not")
    if "sampled" in evaluation:
        facts["candidates"] = (files.run.artifact("candidates").name, f"{evaluation['sampled']} sampled per user")
    return facts


def _artifacts(runs: list[tuple[str, RunFiles]]) -> Table:
    manifests = {(step, a.key): a.manifest for _, files in runs for step, a in files.artifacts.items()}
    columns = [Column("artifact"), Column("key"), Column("made from"), Column("settings"), Column("versions")]
    rows = [
        [
            Value(step),
            Value(key),
            Value(", ".join(manifest.get("parents", {})) or "–"),
            Value(labels.without_folders(_plain(manifest.get("params", {})))),
            Value(", ".join(f"{k} {v}" for k, v in manifest.get("libraries", {}).items()) or "–"),
        ]
        for (step, key), manifest in manifests.items()
    ]
    return Table("Every artifact of these runs; a key is a hash of all its settings and inputs.", columns, rows)


def _plain(params: Mapping[str, Any]) -> str:
    values = {key: value for key, value in params.items() if key != "class" and value not in (None, [], {})}
    return ", ".join(f"{key} {_short(value)}" for key, value in values.items()) or "–"


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return str(value.get("class", "")) + "".join(f" {k} {_short(v)}" for k, v in value.items() if k != "class")
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 40 else f"{text[:12]}…"


def _commands(runs: list[tuple[str, RunFiles]]) -> list[Block]:
    lines, unknown = [], []
    for name, files in runs:
        try:
            lines.append(_command(files))
        except MissingError:
            unknown.append(f"{name}, seed {files.run.seed}")
    blocks: list[Block] = []
    if lines:
        blocks += [Prose("To do it again:"), Code(labels.without_folders("\n".join(dict.fromkeys(lines))), "commands")]
    if unknown:
        text = f"No command on record for {'; '.join(unknown)}: the folder has no .hydra/overrides.yaml."
        blocks.append(Prose(text))
    return blocks


def _command(files: RunFiles) -> str:
    file = files.run.folder / ".hydra" / "overrides.yaml"
    if not file.is_file():
        raise MissingError("no overrides")
    overrides = read_yaml(file) or []
    script = "scripts/evaluate.py" if (files.run.folder / EVALUATION).is_file() else "train.py"
    return f"python {script} " + " ".join(shlex.quote(str(one)) for one in overrides)


def _versions(runs: list[tuple[str, RunFiles]]) -> list[Block]:
    versions: dict[str, list[str]] = {}
    for _, files in runs:
        with contextlib.suppress(MissingError):
            for package, version in files.footprint["versions"].items():
                versions.setdefault(package, []).append(version)
    facts = {package: (", ".join(dict.fromkeys(several)), "") for package, several in versions.items()}
    return [Facts(facts)] if facts else []


def _differences(runs: list[tuple[str, RunFiles]]) -> Table:
    """Settings in which the runs' recipes differ; parts by the names of their classes."""
    recipes = [{key: _bare(key, value) for key, value in files.run.recipe().items()} for _, files in runs]
    keys = sorted({key for recipe in recipes for key, value in recipe.items() if value not in ("{}", "[]")})
    odd = [key for key in keys if len({recipe.get(key) for recipe in recipes}) > 1]
    columns = [Column("setting"), *(Column(name, note=f"seed {files.run.seed}") for name, files in runs)]
    rows = [[Value(key), *(Value(recipe.get(key, "–")) for recipe in recipes)] for key in odd]
    return Table("Settings in which the runs differ, beside the seed.", columns, rows)


def _bare(key: str, value: str) -> str:
    return _short(value.rsplit(".", 1)[-1] if key.endswith("_target_") else labels.without_folders(value))


def _yaml(config: Mapping[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
