"""What a run needs is checked before anything is prepared."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from sage_pl.runs import requirements
from sage_pl.runs.checks import ConfigError
from sage_pl.runs.plan import make_plan, recipe_of
from tests.planned import composed, planned


@pytest.fixture
def data(small_world: Path) -> list[str]:
    return ["dataset=folder", f"dataset.path={small_world}", "embedder=tfidf"]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ["method=sage", "embedder=precomputed", "steps.embed.path=/not/there.npy"],
            "no file there.npy in folder /not, which",
        ),
        (
            ["method=sage", "embedder=scft", "steps.embed.adapter=/not/there"],
            "steps.embed.adapter is /not/there, and no file",
        ),
        (
            ["dataset.path=/nowhere"],
            "no file interactions.parquet in folder /nowhere, which does not exist; name the folder",
        ),
        (
            ["dataset=csv", "dataset.path=/nowhere/a.csv"],
            "no file a.csv in folder /nowhere, which does not exist; name the file",
        ),
        (["dataset=amazon", "dataset.reviews=a", "dataset.metadata=b"], "dataset.reviews=FILE"),
        (["dataset=amazon", "dataset.reviews=a", "dataset.metadata=b"], "dataset.metadata=FILE"),
        (["dataset=handled", "dataset.path=/nowhere", "method=sage", "semantic=handled"], "no file sim_user_100.pkl"),
    ],
)
def test_one_sentence_before_preparation(data: list[str], overrides: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        requirements.check(planned(*(data[2:] if overrides[0].startswith("dataset=") else data), *overrides))
    assert sentence in str(error.value)


def test_every_problem_is_in_one_error(data: list[str], tmp_path: Path) -> None:
    """Absent data stand beside what a plan refuses, and beside what this machine lacks."""
    absent = ["dataset=csv", f"dataset.path={tmp_path}/a.csv", "dataset.text=title", f"dataset.items={tmp_path}/b.csv"]
    both = ("no file a.csv", "no file b.csv", "dataset.items=FILE")
    with pytest.raises(ConfigError) as error:
        requirements.check(planned(*data, *absent, "trainer.max_epochs=0", "optimizer.lr=1"))
    assert all(text in str(error.value) for text in (*both, "trainer.max_epochs is 0"))
    assert ("steps.sequences.source",) in error.value.causes
    assert ("trainer",) in error.value.causes

    recipe = recipe_of(composed(*data, *absent, "data.batch_size=0", "dropout=2"))
    with pytest.raises(ConfigError) as error, requirements.and_missing_data(recipe):
        make_plan(recipe)
    assert all(text in str(error.value) for text in (*both, "data.batch_size is 0", "dropout is 2"))
    assert {("data",), ("steps.sequences.source",)} <= set(error.value.causes)
    recipe = recipe_of(composed("dataset=csv", "method=plain"))
    with pytest.raises(ConfigError, match=r"^please set dataset\.path=\.\.\.$"), requirements.and_missing_data(recipe):
        make_plan(recipe)


@pytest.mark.parametrize("method", ["plain", "sage", "llm_esr", "pad", "llmemb"])
def test_every_method_passes(data: list[str], method: str) -> None:
    requirements.check(planned(*data, f"method={method}", "trainer.accelerator=cpu"))


def test_a_missing_package(data: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    installed = importlib.metadata.version

    def version(name: str) -> str:
        if name == "hdbscan":
            raise importlib.metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(requirements.importlib.metadata, "version", version)
    requirements.check(planned(*data, "method=plain"))
    with pytest.raises(ConfigError, match=r"steps\.cluster needs the package hdbscan, which is not installed"):
        requirements.check(planned(*data, "method=sage"))
