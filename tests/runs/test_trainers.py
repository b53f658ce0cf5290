"""Devices that no process could drive are refused when a run is planned."""

from __future__ import annotations

from typing import Any

import pytest

from sage_pl.runs.trainers import device_problems, end_problems

TRAINER = {"_target_": "pytorch_lightning.Trainer", "accelerator": "cpu", "devices": 1}


@pytest.mark.parametrize("devices", [2, "2", [0, 1], "0,1", -1, 0])
def test_a_step_has_one_device(devices: Any) -> None:
    (line,) = device_problems({"steps": {"scft": {"trainer": {**TRAINER, "devices": devices}}}})
    assert line.startswith("steps.scft.trainer.devices is ")
    assert line.endswith("set steps.scft.trainer.devices=1")


@pytest.mark.parametrize("devices", [2, "2", [0, 1], "0,1"])
@pytest.mark.parametrize("strategy", [None, "auto", "ddp"])
def test_a_run_may_have_several(devices: Any, strategy: str | None) -> None:
    assert not list(device_problems({"trainer": {**TRAINER, "devices": devices, "strategy": strategy}}))


@pytest.mark.parametrize("devices", [-1, 0])
def test_a_run_has_a_device(devices: Any) -> None:
    (line,) = device_problems({"trainer": {**TRAINER, "devices": devices}})
    assert line.endswith("set trainer.devices=1")


@pytest.mark.parametrize("devices", [1, "1", "auto", [1], "0,"])
@pytest.mark.parametrize("path", ["trainer", "step"])
def test_every_way_to_name_one_device(devices: Any, path: str) -> None:
    assert not list(device_problems({path: {**TRAINER, "devices": devices, "strategy": "auto"}}))


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_notebook", "fsdp"])
def test_other_strategies_are_refused(strategy: str) -> None:
    (line,) = device_problems({"trainer": {**TRAINER, "devices": 2, "strategy": strategy}})
    assert line.startswith(f"trainer.strategy is {strategy!r}")
    assert line.endswith("set trainer.strategy=ddp")


@pytest.mark.parametrize("more", [{"strategy": "ddp"}, {"strategy": "fsdp"}, {"num_nodes": 2}])
def test_one_node_and_no_strategy_of_a_step(more: dict[str, Any]) -> None:
    (line,) = device_problems({"steps": {"scft": {"_target_": "x", "trainer": {**TRAINER, **more}}}})
    assert line.startswith("steps.scft.trainer.")


@pytest.mark.parametrize("name", ["WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"])
def test_one_process(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    assert not list(device_problems({}))
    monkeypatch.setenv(name, "2")
    (line,) = device_problems({})
    assert f"unset {name}" in line


def test_the_shell_of_an_allocation_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "8")
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    assert not list(device_problems({}))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"max_epochs": 0}, "max_epochs is 0"),
        ({"max_epochs": -1}, "nothing else ends the training"),
        ({"max_epochs": 2, "check_val_every_n_epoch": 3}, "at most trainer.max_epochs, which is 2"),
        ({"fast_dev_run": True}, "debug=fast_dev_run"),
    ],
)
def test_a_trainer_without_a_best_epoch_is_refused(settings: dict[str, Any], text: str) -> None:
    assert text in "".join(end_problems(settings, {"best": {"_target_": "BestCheckpoint"}}))
