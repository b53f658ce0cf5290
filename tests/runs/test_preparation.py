"""What ``prepare`` makes, what it leaves alone, and what is filled in with it."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf

from sage_pl.artifacts.store import Artifact, ArtifactError
from sage_pl.data.sequences import Sequences
from sage_pl.runs import preparation
from sage_pl.runs.checks import ConfigError
from sage_pl.runs.plan import fill_in_artifacts, make_plan, recipe_of


@pytest.fixture
def config(small_world: Path, tmp_path: Path) -> DictConfig:
    """The parts of a composed configuration that preparation reads."""
    source = {"_target_": "sage_pl.data.sources.folder.Folder", "path": str(small_world)}
    split = {"_target_": "sage_pl.data.split.LeaveOneOut"}
    steps = {
        "sequences": {"_target_": "sage_pl.data.interactions.Interactions", "source": source, "split": split},
        "candidates": {"_target_": "sage_pl.evaluation.candidates.Candidates", "n": 10, "seed": 0},
        "texts": {"_target_": "sage_pl.semantic.texts.Texts", "columns": ["title"]},
        "embed": {"_target_": "sage_pl.semantic.embedders.tfidf.TfidfEmbedder", "dim": "${dim}"},
        "reduce": {"_target_": "sage_pl.reference.steps.PrecomputedReduce", "path": "???"},
    }
    made = OmegaConf.create(
        {
            "dim": 6,
            "dataset": {"name": "small"},
            "paths": {"artifacts": str(tmp_path / "cache")},
            "catalog": {"n_users": "???", "n_items": "???"},
            "artifacts": dict.fromkeys(steps, "???"),
            "steps": steps,
            "model": {},
            "data": {"extras": {}},
            "loss": {"terms": {}},
        }
    )
    OmegaConf.set_struct(made, True)
    return made


def prepare(config: DictConfig, wanted: list[str]) -> dict[str, Artifact]:
    return preparation.prepare(make_plan(recipe_of(config), wanted=wanted))


def test_the_wanted_and_their_parents_are_made_and_filled_in(config: DictConfig, tmp_path: Path) -> None:
    made = prepare(config, ["embed"])
    filled = fill_in_artifacts(config, made)
    assert list(made) == ["sequences", "texts", "embed"]
    for name, artifact in made.items():
        assert Path(filled.artifacts[name]).is_absolute()
        assert Artifact.at(filled.artifacts[name]).key == artifact.key
    assert all(OmegaConf.is_missing(filled.artifacts, name) for name in ("candidates", "reduce"))
    assert all(OmegaConf.is_missing(config.artifacts, name) for name in made), "the configuration itself is left alone"
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {"sequences", "texts", "embed"}


def test_freed_memory_is_returned_after_every_step(config: DictConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[str]] = []

    def look() -> None:
        seen.append({path.name for path in Path(config.paths.artifacts).iterdir()})

    monkeypatch.setattr(preparation, "return_freed_memory", look)
    prepare(config, ["embed"])
    assert seen == [{"sequences"}, {"sequences", "texts"}, {"sequences", "texts", "embed"}]


def test_the_catalogue_is_counted(config: DictConfig) -> None:
    made = prepare(config, [])
    sequences, catalog = made["sequences"], fill_in_artifacts(config, made).catalog
    assert dict(catalog) == {"n_users": 60, "n_items": int(sequences.array("values").max())}
    assert np.unique(sequences.array("values")).tolist() == list(range(1, catalog.n_items + 1))


def test_a_split_by_time_cuts_every_history_at_one_moment(config: DictConfig) -> None:
    before = prepare(config, [])["sequences"]
    config.steps.sequences.split._target_ = "sage_pl.data.split.GlobalTime"
    made = prepare(config, ["candidates"])
    sequences, times = Sequences.load(made["sequences"]), made["sequences"].array("times")
    assert made["sequences"].key != before.key
    held_out = np.concatenate(
        [times[sequences.offsets[cases.user] + cases.at] for cases in (sequences.valid, sequences.test)]
    )
    assert times[sequences.train_mask].max() < held_out.min()
    assert len(sequences.test) == len(made["candidates"].array("test"))
    assert times[Sequences.load(before).train_mask].max() > held_out.min()  # which leaving one out does not give


def test_what_is_there_is_opened_and_what_changed_is_made(config: DictConfig, caplog: pytest.LogCaptureFixture) -> None:
    first = prepare(config, ["embed"])
    caplog.set_level(logging.INFO)
    caplog.clear()
    assert {name: made.key for name, made in prepare(config, ["embed"]).items()} == {
        name: made.key for name, made in first.items()
    }
    assert "running" not in caplog.text
    config.dim = 5  # reaches the step by interpolation
    changed = prepare(config, ["embed"])
    assert changed["texts"].key == first["texts"].key
    assert changed["embed"].key != first["embed"].key
    filled = fill_in_artifacts(config, changed)
    assert filled.artifacts.embed == str(changed["embed"].path)
    assert changed["embed"].array("table").shape == (filled.catalog.n_items + 2, 5)


def test_a_missing_value_matters_only_to_a_step_that_runs(config: DictConfig) -> None:
    prepare(config, ["candidates"])
    with pytest.raises(ConfigError, match=r"please set steps\.reduce\.path=\.\.\."):
        prepare(config, ["reduce"])


def test_an_unknown_result_is_refused_before_anything_is_made(config: DictConfig, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no step is called 'clusters'.*known steps: sequences, candidates"):
        prepare(config, ["clusters"])
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("steps.texts._target_", "os.system", r"steps\.texts\._target_ is 'os\.system'"),
        ("steps.texts.column", "title", "unexpected keyword argument 'column'"),
    ],
    ids=["target", "argument"],
)
def test_an_unfit_step_is_refused_even_if_nobody_wants_it(
    config: DictConfig, tmp_path: Path, key: str, value: str, message: str
) -> None:
    OmegaConf.update(config, key, value, force_add=True)
    with pytest.raises(ConfigError, match=message):
        prepare(config, [])
    assert not (tmp_path / "cache").exists()
