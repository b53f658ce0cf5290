"""Hints for mistyped keys."""

from __future__ import annotations

import pytest
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import OmegaConf

from sage_pl.commands.door import config_dir
from sage_pl.runs.hints import hints, known_keys, suggest
from tests.planned import composed


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        pytest.param("loss.gama", "did you mean loss.gamma?", id="letter missing"),
        pytest.param("gamma", "did you mean loss.gamma?", id="parent missing"),
        pytest.param("optim.gamma", "did you mean loss.gamma?", id="wrong parent"),
        pytest.param("zzz", "", id="nothing near"),
    ],
)
def test_a_mistyped_key_gets_a_hint(key: str, hint: str) -> None:
    assert suggest(key, ["loss.gamma", "data.sequences", "steps.cluster"]) == hint


def test_known_keys_are_all_dotted_paths() -> None:
    config = OmegaConf.create({"a": {"b": {"c": "${d}"}}, "d": [1, {"e": 2}]})
    assert known_keys(config) == ["a", "a.b", "a.b.c", "d"]


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["loss.gama=1"], ["there is no key loss.gama; did you mean loss.gamma?"]),
        (["scorer=5"], ["there is no scorer=5; choices: fusion, interests, learned_fusion, none, semantic"]),
        (["scorer={a:1}", "dim=3"], ["there is no scorer={a:1}; choices: fusion, "]),
        (["backbon=sasrec"], ["there is no key backbon; did you mean backbone?"]),
        (
            ["dataset=csv", "dataset.seperator=;"],
            ["there is no key dataset.seperator; did you mean dataset.separator?"],
        ),
        (
            ["gamma=1", "trainer.max_epoch=3"],
            ["there is no key gamma; did you", "there is no key trainer.max_epoch; did"],
        ),
        (["+loss.gama=1"], ["there is no key loss.gama; did you mean loss.gamma?"]),
        (["dataset=csv", "dataset.separator=;", "loss.gamma=1", "backbone=gru4rec"], []),
        (["-m", "--cfg=job", "backbone=gru4rec,sasrec"], []),
        (["backbone=gru4rec,sasrec"], ["backbone=gru4rec,sasrec names several choices; add -m to run each of them"]),
        (
            ["zzzzzz=1"],
            ["there is no key zzzzzz; --cfg job prints every key of the command, and +zzzzzz=1 adds a new one"],
        ),
        (["+zzzzzz=1"], []),
        (["+loss/term@loss.terms.x=alignment"], []),
        (["hydra.mode=RUN", "hydra.run.dir=x"], []),
        (["dataset=beuty", "loss.gama=1"], ["there is no dataset=beuty; did you mean dataset=beauty?"]),
        (["method=sag"], ["there is no method=sag; did you mean method=sage?"]),
        (["-m", "method=plain,sag"], ["there is no method=sag; did you mean method=sage?"]),
        (["method=zzz"], ["there is no method=zzz; choices: comirec, ctrl, eimf"]),
        (["without=sage/proto"], ["there is no without=sage/proto; did you mean without=sage/prototype?"]),
        (
            ["without=pad/foo"],
            ["there is no without=pad/foo; choices: pad/aligned_and_text_experts, pad/aligned_expert, "],
        ),
        (["without=prototype"], ["there is no without=prototype; did you mean without=sage/prototype?"]),
        (["without=freeze"], ["there is no without=freeze; did you mean without=llm_esr/freeze or without=llmemb/fr"]),
        (
            ["+loss/term@loss.terms.x=alignmen"],
            ["there is no loss/term@loss.terms.x=alignmen; did you mean loss/term@loss.terms.x=alignment?"],
        ),
        (
            ["loss/term@loss.terms.x=mse"],
            ["loss/term@loss.terms.x is new in this run; write +loss/term@loss.terms.x=mse"],
        ),
        (
            ["method=plain", "item_encoder/gate=shared"],
            ["item_encoder/gate=shared has no place in this run, no part of wh"],
        ),
    ],
    ids=" ".join,
)
def test_a_mistake_is_answered_with_what_was_probably_meant(arguments: list[str], lines: list[str]) -> None:
    error = _error(arguments)
    answers = hints(arguments, config_dir(), "train", error)
    assert len(answers) == len(lines)
    for answer, line in zip(answers, lines, strict=True):
        assert answer.startswith(line)


def test_every_group_has_its_choices_suggested() -> None:
    groups = {file.parent.relative_to(config_dir()): file.stem for file in sorted(config_dir().rglob("*/*.yaml"))}
    for group, choice in groups.items():
        typed = f"+{group}={choice}x"
        (answer,) = hints([typed], config_dir(), "train", _error([typed]))
        assert f"did you mean {group}={choice}" in answer


@pytest.mark.parametrize("choice", ["experiment=reference_pad", "without=pad/frequency"])
def test_an_experiment_or_a_part_of_another_method_is_named(choice: str) -> None:
    with pytest.raises(ConfigCompositionException) as error:
        composed(choice, "method=sage")
    (answer,) = hints([choice, "method=sage"], config_dir(), "train", error.value)
    assert answer.startswith(f"{choice} changes item_encoder")
    assert answer.endswith("which method=sage does not have: leave out one of the two")


def _error(arguments: list[str]) -> HydraException | None:
    """What Hydra raises for the first choice that its group, or its configuration, does not have."""
    for argument in arguments:
        key, _, values = argument.lstrip("+").partition("=")
        if argument == "item_encoder/gate=shared" or ("@" in key and not argument.startswith("+")):
            return ConfigCompositionException(f"Could not override '{key}'. No match in the defaults list.")
        folder = config_dir() / key.partition("@")[0]
        options = [file.stem for file in folder.glob("*.yaml")] if folder.is_dir() else []
        for value in values.split(","):
            if options and value not in options:
                return MissingConfigException("a hundred lines", f"{key.partition('@')[0]}/{value}", options)
    return None


def test_a_launcher_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sage_pl.runs.hints._installed", lambda plugin: False)
    assert hints(["-m", "hydra/launcher=submitit_slurm", "seed=1,2"], config_dir(), "train") == [
        "hydra/launcher=submitit_slurm comes with: pip install 'sage-pl[slurm]'"
    ]
