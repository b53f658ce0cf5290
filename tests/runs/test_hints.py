"""Hints for mistyped keys."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from sage_pl.commands.door import config_dir
from sage_pl.runs.hints import hints, known_keys, suggest


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
        (["loss.gama=1"], ["loss.gama: no such key; did you mean loss.gamma"]),
        (["backbon=sasrec"], ["backbon: no such key; did you mean backbone"]),
        (["dataset=csv", "dataset.seperator=;"], ["dataset.seperator: no such key; did you mean dataset.separator"]),
        (["gamma=1", "trainer.max_epoch=3"], ["gamma: no such key; did you mean", "trainer.max_epoch: no such key"]),
        (["+loss.gama=1"], ["loss.gama: no such key; did you mean loss.gamma"]),
        (["dataset=csv", "dataset.separator=;", "loss.gamma=1", "backbone=gru4rec"], []),
        (["-m", "--cfg=job", "backbone=gru4rec,sasrec"], []),
        (["zzzzzz=1"], []),
        (["+loss/term@loss.terms.x=alignment"], []),
        (["hydra.mode=RUN", "hydra.run.dir=x"], []),
        (["without=prototype"], ["without=prototype: no such choice; did you mean without=sage/prototype?"]),
        (
            ["without=freeze"],
            ["without=freeze: no such choice; did you mean without=llm_esr/freeze or without=llmemb/fr"],
        ),
        (["dataset=beuty", "loss.gama=1"], []),  # Hydra's message lists the data sets
    ],
    ids=" ".join,
)
def test_hints_name_the_key_that_was_probably_meant(arguments: list[str], lines: list[str]) -> None:
    answers = hints(arguments, config_dir(), "train")
    assert len(answers) == len(lines)
    for answer, line in zip(answers, lines, strict=True):
        assert answer.startswith(line)


def test_a_launcher_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sage_pl.runs.hints._installed", lambda plugin: False)
    assert hints(["-m", "hydra/launcher=submitit_slurm", "seed=1,2"], config_dir(), "train") == [
        "hydra/launcher=submitit_slurm comes with: pip install 'sage-pl[slurm]'"
    ]
