"""The choices of conf/tokenizer and conf/tokenizer/quantiser, and the command that makes codes with the run they build upon."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from sage_pl.artifacts.identity import identity
from sage_pl.artifacts.store import Artifact
from sage_pl.runs.stages import Stage
from sage_pl.semantic.tokenizer.balance import Balanced
from sage_pl.semantic.tokenizer.kmeans import ResidualKMeans
from sage_pl.semantic.tokenizer.rq_vae import ResidualVAE
from sage_pl.semantic.tokenizer.step import Tokens
from tests.planned import composed, planned

ROOT = Path(__file__).parents[3]
DATA = ("dataset=folder", "dataset.path=somewhere")
WANTED = {
    "convergence": Tokens(ResidualKMeans()),
    "collaborative": Tokens(ResidualKMeans(pull=0.0)),
    "letter": Tokens(ResidualKMeans(), source="text"),
    "tiger": Tokens(ResidualKMeans(), source="text", collaborative=None, collisions="suffix"),
    "lc_rec": Tokens(ResidualKMeans(levels=4), source="text", collaborative=None, balance=Balanced()),
}


def step(config: DictConfig) -> Tokens:
    return instantiate(OmegaConf.to_container(config.steps.tokens, resolve=True), _convert_="all")


def test_no_choice_is_forgotten() -> None:
    assert {file.stem for file in (ROOT / "conf" / "tokenizer").glob("*.yaml")} == set(WANTED)


@pytest.mark.parametrize("name", WANTED)
def test_a_tokenizer_is_the_step_it_says_with_the_defaults_of_the_code(name) -> None:
    config = composed(*DATA, "method=plain", f"tokenizer={name}")
    assert step(config) == WANTED[name]
    assert ("plain" in config.stages) == (WANTED[name].collaborative == "plain")


@pytest.mark.parametrize("name", WANTED)
def test_the_quantiser_is_exchanged_in_any_of_them(name) -> None:
    config = composed(*DATA, "method=plain", f"tokenizer={name}", "tokenizer/quantiser@steps.tokens.quantiser=rq_vae")
    levels, pull = 4 if name == "lc_rec" else 3, 0.0 if name == "collaborative" else 0.1
    assert identity(step(config).quantiser) == identity(ResidualVAE(levels=levels, pull=pull))


@pytest.mark.parametrize("method", ["sage", "semantic_convergence"])
def test_the_run_behind_the_codes_is_the_plain_run_of_other_methods(method) -> None:
    own = planned(*DATA, f"method={method}", "tokenizer=convergence", wanted=["tokens"]).stages["plain"]
    assert identity(Stage.of("plain", own)) == identity(Stage.of("plain", planned(*DATA, "method=pad").stages["plain"]))


@pytest.fixture
def prepare(small_settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """``scripts/prepare.py`` for codes of the small world."""

    def run(*overrides: str) -> Artifact:
        given = [
            *small_settings,
            "method=plain",
            "wanted=[tokens]",
            "trainer.max_epochs=1",
            "steps.tokens.quantiser.codes=8",
        ]
        monkeypatch.setattr(sys, "argv", ["prepare.py", *given, *overrides, f"hydra.run.dir='{tmp_path}/run'"])
        runpy.run_path(str(ROOT / "scripts" / "prepare.py"), run_name="__main__")
        lines = (tmp_path / "run" / "train.log").read_text().splitlines()
        return Artifact.at([line.split()[-1] for line in lines if line.split()[1] == "tokens"][-1])

    return run


def test_codes_are_prepared_with_the_run_they_come_from(prepare) -> None:
    made = prepare("tokenizer=convergence")
    assert set(made.manifest["parents"]) == {"sequences", "embed", "plain"}
    codes = made.array("codes")
    assert codes.dtype == np.int32
    assert len(np.unique(codes[1:-1], axis=0)) == len(codes) - 2
    again = prepare("tokenizer=convergence")
    assert again.key == made.key
    assert prepare("tokenizer=convergence", "seed=5").key != made.key  # of another plain run


def test_text_alone_trains_nothing(prepare) -> None:
    made = prepare("tokenizer=tiger")
    assert set(made.manifest["parents"]) == {"sequences", "embed"}


def test_codebooks_are_trained_by_the_trainer_of_the_configuration(prepare) -> None:
    """Its epochs decide the key; the device and further loggers do not."""
    quantiser, trainer = "tokenizer/quantiser@steps.tokens.quantiser=rq_vae", "steps.tokens.quantiser.trainer"
    made = prepare("tokenizer=tiger", quantiser, f"{trainer}.max_epochs=2")
    assert (made.path / "metrics.csv").read_text().count("\n") == 3
    more = f"{trainer}.logger=[{{_target_: pytorch_lightning.loggers.CSVLogger, save_dir: elsewhere}}]"
    assert (
        prepare("tokenizer=tiger", quantiser, f"{trainer}.max_epochs=2", f"{trainer}.accelerator=cpu", more).key
        == made.key
    )
    assert prepare("tokenizer=tiger", quantiser, f"{trainer}.max_epochs=1").key != made.key
