"""What a run needs is checked before anything is prepared."""

from __future__ import annotations

import importlib.metadata

import pytest

from sage_pl.runs import requirements
from sage_pl.runs.checks import ConfigError
from tests.planned import planned

DATA = ("dataset=folder", "dataset.path=/nowhere", "embedder=tfidf")


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ["method=sage", "embedder=precomputed", "steps.embed.path=/not/there.npy"],
            "steps.embed.path is /not/there.npy",
        ),
    ],
)
def test_one_sentence_before_preparation(overrides: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        requirements.check(planned(*DATA, *overrides))
    assert sentence in str(error.value)


@pytest.mark.parametrize("method", ["plain", "sage", "llm_esr", "pad", "llmemb"])
def test_every_method_passes(method: str) -> None:
    requirements.check(planned(*DATA, f"method={method}", "trainer.accelerator=cpu"))


def test_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = importlib.metadata.version

    def version(name: str) -> str:
        if name == "hdbscan":
            raise importlib.metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(requirements.importlib.metadata, "version", version)
    requirements.check(planned(*DATA, "method=plain"))
    with pytest.raises(ConfigError, match=r"steps\.cluster needs the package hdbscan, which is not installed"):
        requirements.check(planned(*DATA, "method=sage"))
