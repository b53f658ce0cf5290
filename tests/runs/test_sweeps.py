"""What a sweep varies, and how its jobs are compared at the end."""

from __future__ import annotations

import glob
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from sage_pl.runs import sweeps
from tests.planned import composed


def parsed(*overrides: str) -> dict[str, list[str]]:
    return sweeps.variations(OverridesParser.create().parse_overrides(list(overrides)))


def test_what_varies_but_seeds_and_data() -> None:
    assert parsed("method=plain,sage", "seed=1,2", "dataset=beauty,yelp", "dim=8") == {"method": ["plain", "sage"]}


@pytest.mark.parametrize(
    ("override", "key", "values"),
    [
        ("loss.alpha=1e-1,0.20,0", "loss.alpha", ["0.1", "0.2", "0"]),  # as configuration values are written
        ("freeze=true,false", "freeze", ["True", "False"]),
        ("data.max_len=range(10,40,10)", "data.max_len", ["10", "20", "30"]),
        ("+loss/term@loss.terms.x=mmd,mse", "loss/term@loss.terms.x", ["mmd", "mse"]),
        ("dataset.path='a b','c'", "dataset.path", ["a b", "c"]),
    ],
)
def test_values_as_a_comparison_names_them(override: str, key: str, values: list[str]) -> None:
    assert parsed(override) == {key: values}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    made: list[list[str]] = []

    def run(command: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        made.append(command)
        return subprocess.CompletedProcess(command, len(made) - 1)  # the second one fails

    monkeypatch.setattr(sweeps.subprocess, "run", run)
    monkeypatch.setattr(sys, "argv", ["/here/train.py", "-m"])
    return made


def started(folder: Path) -> tuple[Path, dict[Path, bool]]:
    """A sweep's folder and its jobs: one that ended well, one that failed, one whose folder has results of another process."""
    sweep = folder / "it's one"
    jobs = {sweep / "0_job": True, sweep / "1_failed": False, sweep / "2_taken": False}
    for job in (*jobs, sweep / "3_of an earlier sweep"):
        job.mkdir(parents=True)
    for job in ("0_job", "2_taken", "3_of an earlier sweep"):
        (sweep / job / "metrics.json").write_text("{}")
    return sweep, jobs


def test_the_first_value_of_the_first_key_is_the_baseline(calls: list[list[str]], tmp_path: Path) -> None:
    folder, jobs = started(tmp_path)
    sweeps.compare_jobs(
        folder,
        jobs,
        {"loss.alpha": ["0.1", "0"], "backbone": ["sasrec", "gru4rec"]},
        {"wandb": "sage-pl", "report": None},
    )
    (command,) = calls
    assert command[:4] == [sys.executable, "-m", "sage_pl", "compare"]
    given = {o.key_or_group: o.value() for o in OverridesParser.create().parse_overrides(command[4:])}
    assert given == {
        "runs": [f"{folder}/0_job", f"{folder}/1_failed"],
        "by": ["loss.alpha", "backbone"],
        "baseline": "0.1",
        "hydra.run.dir": f"{folder}/comparison",
        "wandb": "sage-pl",
        "report": None,
        "group": "it's one",
    }


def test_a_sweep_of_seeds_lists_its_method(calls: list[list[str]], tmp_path: Path) -> None:
    sweeps.compare_jobs(*started(tmp_path), {}, {})
    assert "by=['method']" in calls[0]
    assert "baseline=null" in calls[0]


def test_no_job_no_comparison(calls: list[list[str]], tmp_path: Path) -> None:
    sweeps.compare_jobs(tmp_path, {}, {"method": ["plain"]}, {})
    assert not calls


def test_a_comparison_that_fails_is_a_warning(
    calls: list[list[str]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls.append([])
    with caplog.at_level(logging.WARNING):
        sweeps.compare_jobs(*started(tmp_path), {}, {})
    assert "could not be compared" in caplog.text
    assert "1_failed failed; its log is" in caplog.text


def test_brackets_in_the_name_of_a_sweep_are_no_pattern(calls: list[list[str]], tmp_path: Path) -> None:
    (tmp_path / "[new]" / "0_job" / ".hydra").mkdir(parents=True)
    sweeps.compare_jobs(tmp_path / "[new]", {tmp_path / "[new]" / "0_job": True}, {}, {})
    (runs,) = (argument for argument in calls[0] if argument.startswith("runs="))
    (pattern,) = OverridesParser.create().parse_override(runs).value()
    assert glob.glob(pattern) == [str(tmp_path / "[new]" / "0_job")]


def test_jobs_with_the_cause_of_an_equal_failure_are_left_out() -> None:
    failures = sweeps.Failures(lambda job, name: None)
    failures.add(["dim=8", "objective=bad", "method=plain"], "10:00:00 objective is bad")
    assert failures.expected(["dim=8", "objective=bad", "method=plain"]) is None
    failures.add(["dim=8", "objective=bad", "method=sage"], "10:00:09 objective is bad")
    assert failures.expected(["dim=8", "objective=bad", "method=pad"]) == "objective is bad"
    assert failures.expected(["dim=8", "objective=good", "method=pad"]) is None


def test_a_job_with_the_parts_that_a_failure_follows_from_is_left_out_at_once() -> None:
    """One failure is enough; a part that differs, or that a job lacks, tells nothing."""
    values = {"a": {"steps.embed": 1, "steps.texts": 1}, "b": {"steps.embed": 2, "steps.texts": 1}, "c": {}}
    failures = sweeps.Failures(lambda job, name: values[job[0]].get(name))
    failures.add(["a"], "10:00:00 no vectors", [["steps.texts", "steps.embed"], ["model.part"], []])
    assert failures.expected(["a", "seed=2"]) == "no vectors"
    assert failures.expected(["b"]) is None
    assert failures.expected(["c"]) is None


def test_parts_of_a_configuration_are_resolved() -> None:
    config = composed("dataset=csv", "dataset.path=x.csv", "method=plain")
    assert sweeps.part_of(config, "steps.sequences.source.path") == "x.csv"
    assert sweeps.part_of(config, "steps.sequences.nothing") is None
    assert sweeps.part_of(config, "callbacks")["best"]["dirpath"] == "<run_dir>/checkpoints"
    assert sweeps.part_of(config, "trainer") == sweeps.part_of(composed("method=sage"), "trainer")
