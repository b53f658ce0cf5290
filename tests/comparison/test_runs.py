from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from sage_pl.comparison.runs import FinishedRun, RunError, find, read
from sage_pl.comparison.systems import comparable, systems

FUSION = "sage_pl.nn.scorers.fusion.Fusion"


def make(folder: Path, method: str = "plain", seed: int = 42, name: str = "tea", **changes: Any) -> Path:
    """A finished run's folder; ``changes`` replace parts of its configuration."""
    (folder / ".hydra").mkdir(parents=True)
    config = {
        "seed": seed,
        "run_dir": str(folder),
        "dataset": {"name": name},
        "artifacts": {"sequences": "/a/sequences/5e9", "candidates": "/a/candidates/ca1"},
        "evaluation": {"ks": [10], "seen": "keep", "sampled": 100, "seed": 0, "groups": {"ts_user": 5}},
        "data": {"seen": "keep", "max_len": 50, "seed": seed},
        "optimizer": {"lr": 0.001},
        **changes,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    choices = {"method": method, "backbone": "sasrec", "debug": None}
    (folder / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump({"hydra": {"runtime": {"choices": choices}}}))
    (folder / "metrics.json").write_text(json.dumps({"test/full/ndcg@10": 0.5}))
    (folder / "ranks.parquet").touch()
    return folder


def runs(*folders: Path) -> list[FinishedRun]:
    return [read(folder) for folder in folders]


def test_finds_runs_at_any_depth_oldest_first(tmp_path: Path) -> None:
    new, old = make(tmp_path / "a" / "new"), make(tmp_path / "b" / "c" / "old")
    os.utime(old / "metrics.json", (1, 1))
    found, problems = find(f"{tmp_path}/**")
    assert [run.folder for run in found] == [old, new]
    assert problems == []
    assert [run.folder for run in find([f"{tmp_path}/a/*", f"{tmp_path}/a/new"])[0]] == [new]


def test_unfinished_runs_are_named_and_stages_passed_over(tmp_path: Path) -> None:
    make(tmp_path / "done")
    (make(tmp_path / "half") / "metrics.json").unlink()
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "train.log").touch()
    (make(tmp_path / "stage") / "manifest.json").touch()
    found, problems = find(f"{tmp_path}/**")
    assert [run.folder.name for run in found] == ["done"]
    assert [problem.folder.name for problem in problems] == ["begun", "half"]
    assert "is not a finished run (no config.yaml, metrics.json, ranks.parquet); run it again" in problems[0].reason
    assert f"{tmp_path}/half is not a finished run (no metrics.json)" in str(problems[1])


def test_a_failed_run_says_what_failed_and_an_interrupted_one_how_to_go_on(tmp_path: Path) -> None:
    make(tmp_path / "done")
    for name in ("failed", "stopped"):
        (make(tmp_path / name) / "metrics.json").unlink()
    (tmp_path / "failed" / "train.log").write_text("10:00:00 epoch 0\n10:00:01 out of memory\n\n")
    (tmp_path / "stopped" / "checkpoints").mkdir()
    (tmp_path / "stopped" / "checkpoints" / "last.ckpt").touch()
    failed, stopped = find(f"{tmp_path}/**")[1]
    assert (
        failed.reason == "is not a finished run (no metrics.json); its log ends: 10:00:01 out of memory; run it again"
    )
    assert stopped.reason.endswith(f"; go on from its last epoch with resume={tmp_path}/stopped/checkpoints/last.ckpt")


def test_a_failed_job_of_a_sweep_says_what_failed_without_its_options(tmp_path: Path) -> None:
    make(tmp_path / "done")
    (make(tmp_path / "failed") / "metrics.json").unlink()
    word = f"job 3 ({' '.join(['a=(1)'] * 99)}) ended with exit code -9: 10:00:00 epoch 4; its log is /x/train.log"
    (tmp_path / "failed" / "train.log").write_text(f"10:00:00 epoch 4\n10:00:01 {word}\n")
    (failed,) = find(f"{tmp_path}/**")[1]
    assert "; its log ends: ended with exit code -9: 10:00:00 epoch 4; run it again" in failed.reason


def test_no_run_at_all(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no finished run matches .*nowhere"):
        find(f"{tmp_path}/nowhere/**")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("metrics.json", '{"test/full/hr@10": NaN, "b": 1}', "not finite: test/full/hr@10"),
        ("metrics.json", "{", "metrics.json cannot be read"),
        ("metrics.json", '{"a": "x"}', "metrics.json cannot be read"),
        ("config.yaml", "a: [", "config.yaml cannot be read"),
        ("config.yaml", "- a", "config.yaml holds no configuration"),
        ("config.yaml", "a: 1", "names no artifacts.sequences"),
        ("config.yaml", "a: !!python/object/apply:os.getcwd []", "config.yaml cannot be read"),
    ],
    ids=["nan", "cut off", "text", "not yaml", "a list", "another tool's", "code"],
)
def test_damaged_files(tmp_path: Path, file: str, text: str, message: str) -> None:
    folder = make(tmp_path / "run")
    (folder / file).write_text(text)
    with pytest.raises(RunError, match=message):
        read(folder)


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        (
            {"artifacts": {"sequences": "/b/sequences/0dd", "candidates": "/a/candidates/ca1"}},
            "artifacts.sequences is 0dd ",
        ),
        (
            {"artifacts": {"sequences": "/a/sequences/5e9", "candidates": "???"}},
            "artifacts.candidates is ??? instead of ca1",
        ),
        ({"data": {"seen": "mask"}}, "evaluation.seen is mask instead of keep"),
        (
            {"evaluation": {"seen": "keep", "sampled": 100, "seed": 0, "groups": {"ts_user": 9}}},
            "evaluation.groups.ts_user is 9 instead of 5",
        ),
    ],
    ids=["data", "candidates", "seen", "groups"],
)
def test_the_odd_run_is_refused_and_the_rest_kept(tmp_path: Path, changes: dict[str, Any], difference: str) -> None:
    a, b = make(tmp_path / "a"), make(tmp_path / "b", "sage")
    odd = make(tmp_path / "odd", **changes)
    other = make(tmp_path / "other", name="coffee")
    kept, problems = comparable(runs(a, odd, b, other))
    assert {name: [run.folder for run in members] for name, members in kept.items()} == {
        "tea": [a, b],
        "coffee": [other],
    }
    assert len(problems) == 1
    assert f"{odd} ({difference}" in problems[0]


def test_artifacts_elsewhere_and_cutoffs_do_not_matter(tmp_path: Path) -> None:
    moved = {"sequences": "/b/sequences/5e9", "candidates": "/b/candidates/ca1"}
    evaluation = {"ks": [5], "seen": "keep", "sampled": 100, "seed": 0, "groups": {"ts_user": 5}}
    kept, problems = comparable(
        runs(make(tmp_path / "a"), make(tmp_path / "b", artifacts=moved, evaluation=evaluation))
    )
    assert (len(kept["tea"]), problems) == (2, [])


def test_a_difference_that_does_not_matter_can_be_ignored(tmp_path: Path) -> None:
    evaluation = {"seen": "keep", "sampled": 100, "seed": 0, "groups": {"ts_user": 9}}
    members = runs(make(tmp_path / "a"), make(tmp_path / "b", evaluation=evaluation), make(tmp_path / "c"))
    assert len(comparable(members)[0]["tea"]) == 2
    assert len(comparable(members, ["evaluation.groups.ts_user"])[0]["tea"]) == 3


def test_sizes(tmp_path: Path) -> None:
    known, unknown = runs(make(tmp_path / "a", catalog={"n_users": 7, "n_items": 9}), make(tmp_path / "b"))
    assert (known.sizes, unknown.sizes) == ((7, 9), (0, 0))


def test_without_a_majority_the_data_set_is_refused(tmp_path: Path) -> None:
    a, b = make(tmp_path / "a"), make(tmp_path / "b", data={"seen": "mask"})
    kept, problems = comparable(runs(a, b))
    assert kept == {}
    assert (
        f"tea is left out: its runs are not comparable, and no setting has the majority. Against {a}: {b} ("
        in problems[0]
    )


def test_systems_are_named_by_choices_and_keys(tmp_path: Path) -> None:
    members = runs(make(tmp_path / "a", seed=2), make(tmp_path / "b", seed=1), make(tmp_path / "c", "sage"))
    grouped, remarks = systems(members, ["method", "optimizer.lr"])
    assert {name: [run.seed for run in ones] for name, ones in grouped.items()} == {
        ("plain", "0.001"): [1, 2],
        ("sage", "0.001"): [42],
    }
    assert remarks == []


def test_null_is_a_value_to_name_a_system_by(tmp_path: Path) -> None:
    members = runs(*(make(tmp_path / str(clip), optimizer={"lr": 0.1, "clip": clip}) for clip in (None, 2.0)))
    grouped, _ = systems(members, ["optimizer.clip"])
    assert sorted(grouped) == [("2.0",), ("null",)]


@pytest.mark.parametrize("key", ["methode", "optimizer", "debug"], ids=["unknown", "not a value", "no choice"])
def test_a_name_no_run_has(tmp_path: Path, key: str) -> None:
    with pytest.raises(RunError, match=f"has no '{key}' to name it by"):
        systems(runs(make(tmp_path / "a")), [key])


def test_the_newest_of_two_runs_with_one_seed_is_used(tmp_path: Path) -> None:
    old, new = make(tmp_path / "old"), make(tmp_path / "new")
    grouped, remarks = systems(runs(old, new), ["method"])
    assert [run.folder for run in grouped["plain",]] == [new]
    assert remarks == [f"plain has seed 42 twice: {new} is used, the older {old} is not"]


def test_runs_that_differ_in_more_than_the_seed_are_systems_of_their_own(tmp_path: Path) -> None:
    other = {"optimizer": {"lr": 0.01}}
    members = runs(
        make(tmp_path / "a", seed=1),
        make(tmp_path / "b", seed=2),
        make(tmp_path / "c", seed=1, **other),
        make(tmp_path / "d", "sage", seed=1),
    )
    grouped, (remark,) = systems(members, ["method"])
    assert {name: [run.folder.name for run in ones] for name, ones in grouped.items()} == {
        ("plain", "optimizer.lr=0.001"): ["a", "b"],
        ("plain", "optimizer.lr=0.01"): ["c"],
        ("sage",): ["d"],
    }
    assert remark == (
        "plain stands for 2 systems, which are not averaged since they differ in more than the seed: optimizer.lr: 0.001 / "
        "0.01 (to name them by it: by=[method,optimizer.lr])"
    )
    assert systems(members, ["method", "optimizer.lr"])[1] == []


def test_a_system_is_named_by_the_fewest_settings(tmp_path: Path) -> None:
    places = {"a": (0.1, 1), "b": (0.1, 2), "c": (0.2, 1)}
    members = runs(*(make(tmp_path / n, optimizer={"lr": lr, "steps": k, "twin": lr}) for n, (lr, k) in places.items()))
    assert list(systems(members, ["method"])[0]) == [
        ("plain", "optimizer.lr=0.1 optimizer.steps=1"),
        ("plain", "optimizer.lr=0.1 optimizer.steps=2"),
        ("plain", "optimizer.lr=0.2 optimizer.steps=1"),
    ]


def test_stages_of_other_seeds_are_no_difference(tmp_path: Path) -> None:
    def with_stage(name: str, seed: int, width: int = 8) -> Path:
        artifacts = {"sequences": "/a/sequences/5e9", "candidates": "/a/candidates/ca1", "plain": f"/a/plain/{name}"}
        model = {"teacher": artifacts["plain"]}
        above = {"start": {"run": artifacts["plain"]}, "seed": seed}  # a stage that begins with the other
        stages = {"plain": {"dim": width, "seed": seed}, "align": above}
        return make(tmp_path / name, "pad", seed, artifacts=artifacts, model=model, stages=stages)

    members = runs(with_stage("a", 1), with_stage("b", 2))
    assert [len(ones) for ones in systems(members, ["method"])[0].values()] == [2]
    assert len(systems([*members, *runs(with_stage("c", 3, 16))], ["method"])[0]) == 2


@pytest.mark.parametrize("command", ["evaluate", "prepare", "recommend"])
def test_folders_of_other_commands_are_no_runs(tmp_path: Path, command: str) -> None:
    make(tmp_path / "done")
    other = make(tmp_path / "other")
    (other / "config.yaml").unlink()
    (other / "train.log").touch()
    (other / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump({"hydra": {"job": {"name": command}}}))
    assert find(f"{tmp_path}/**")[1] == []
    (other / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump({"hydra": {"job": {"name": "train"}}}))
    assert len(find(f"{tmp_path}/**")[1]) == 1


def test_a_failure_is_one_line(tmp_path: Path) -> None:
    make(tmp_path / "done")
    (make(tmp_path / "broken") / "config.yaml").write_text("a: [\nb: {")
    (problem,) = find(f"{tmp_path}/**")[1]
    assert "\n" not in problem.reason


@pytest.mark.parametrize(
    ("values", "mode", "converged"),
    [
        ([0.1, 0.3, 0.2], "max", True),
        ([0.1, 0.2, 0.3], "max", False),
        ([0.3, 0.2, 0.1], "min", False),
        ([0.1, 0.3, 0.3], "max", True),
        ([0.1], "max", False),
        ([], "max", None),
    ],
)
def test_an_older_run_is_converged_by_its_table(
    tmp_path: Path, values: list[float], mode: str, converged: bool | None
) -> None:
    folder = make(tmp_path / "run", callbacks={"best": {"monitor": "val/x", "mode": mode}})
    (folder / "metrics.csv").write_text(
        "epoch,train/loss,val/x\n" + "".join(f"{i},,{v}\n{i},1.5,\n" for i, v in enumerate(values))
    )
    assert read(folder).converged is converged
    (folder / "metrics.json").write_text(json.dumps({"test/full/ndcg@10": 0.5, "converged": 1.0}))
    assert read(folder).converged is True


def test_an_option_left_at_nothing_and_another_machine_are_no_difference(tmp_path: Path) -> None:
    elsewhere = {"optimizer": {"lr": 0.001, "clip": None}, "trainer": {"accelerator": "gpu"}}
    members = runs(make(tmp_path / "a", seed=1), make(tmp_path / "b", seed=2, **elsewhere))
    assert systems(members, ["method"])[1] == []


def test_choices_of_the_configuration_come_before_those_of_hydra(tmp_path: Path) -> None:
    gate = "item_encoder/gate"
    choices = {"method": "pad", "backbone": "gru4rec", "without": "pad/gate", gate: "uniform", "debug": None}
    (run,) = runs(make(tmp_path / "a", "plain", choices=choices))
    assert [run.name_by(key) for key in ("method", "backbone", "without", gate)] == [
        *("pad", "gru4rec", "pad/gate", "uniform")
    ]
    with pytest.raises(RunError, match="has no 'debug' to name it by"):
        run.name_by("debug")


def test_a_stage_is_named_by_itself(tmp_path: Path) -> None:
    (run,) = runs(make(tmp_path / "a", choices={"method": "pad", "backbone": "gru4rec"}, role="align"))
    assert (run.name_by("method"), run.name_by("backbone")) == ("align", "gru4rec")


def test_choices_decide_neither_recipe_nor_setting(tmp_path: Path) -> None:
    members = runs(*(make(tmp_path / name, choices={"method": name, "backbone": "x"}) for name in ("a", "b")))
    assert members[0].recipe() == members[1].recipe()
    assert members[0].setting() == members[1].setting()


@pytest.mark.parametrize(
    ("run_dir", "names"),
    [
        ("/o/runs/tea/residual_text-gru4rec-seed1/2026", ("residual_text", "gru4rec")),
        ("/o/sweeps/2026/3_tea_residual_text-gru4rec-seed1", ("residual_text", "gru4rec")),
        ("/o/mine", ("DualEncoder+alignment+mmd", "sasrec")),
    ],
    ids=["run", "sweep", "elsewhere"],
)
def test_names_without_hydra(tmp_path: Path, run_dir: str, names: tuple[str, str]) -> None:
    model = {
        "item_encoder": {"_target_": "sage_pl.nn.item_encoders.dual.DualEncoder"},
        "terms": {"mmd": {}, "alignment": {}},
    }
    backbone = {"_target_": "sage_pl.nn.backbones.sasrec.SASRec"}
    folder = make(tmp_path / "run", run_dir=run_dir, model=model, backbone=backbone)
    (folder / ".hydra" / "hydra.yaml").unlink()
    run = read(folder)
    assert (run.name_by("method"), run.name_by("backbone")) == names


def test_an_evaluation_with_another_scorer_is_a_run_named_by_it(tmp_path: Path) -> None:
    plain, fused = (
        make(tmp_path / n, seed=1, model={"scorer": s}) for n, s in (("a", None), ("b", {"_target_": FUSION}))
    )
    (fused / "config.yaml").rename(fused / "evaluation.yaml")
    found, problems = find(f"{tmp_path}/**")
    assert ([run.folder for run in found], problems) == ([plain, fused], [])
    grouped, (remark,) = systems(found, ["method"])
    assert list(grouped) == [("plain", "scorer=none"), ("plain", "scorer=fusion")]
    assert "(to name them by it: by=[method,scorer])" in remark
    (fused / "metrics.json").write_text("{")
    (problem,) = find(f"{tmp_path}/**")[1]
    assert problem.reason.endswith(f"; evaluate the checkpoint that {fused}/evaluation.yaml names again")
