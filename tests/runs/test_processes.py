"""More than one device or process is refused when a run is planned."""

from __future__ import annotations

from typing import Any

import pytest

from sage_pl.runs.processes import problems

TRAINER = {"_target_": "pytorch_lightning.Trainer", "accelerator": "cpu", "devices": 1}


@pytest.mark.parametrize("devices", [2, "2", [0, 1], "0,1", -1, 0])
def test_one_device(devices: Any) -> None:
    (line,) = problems({"trainer": {**TRAINER, "devices": devices}})
    assert line.startswith("trainer.devices is ")
    assert line.endswith("set trainer.devices=1")


@pytest.mark.parametrize("devices", [1, "1", "auto", [1], "0,"])
def test_every_way_to_name_one_device(devices: Any) -> None:
    assert not list(problems({"trainer": {**TRAINER, "devices": devices, "strategy": "auto"}}))


@pytest.mark.parametrize("more", [{"strategy": "ddp"}, {"strategy": "fsdp"}, {"num_nodes": 2}])
def test_one_node_without_a_strategy(more: dict[str, Any]) -> None:
    (line,) = problems({"steps": {"scft": {"_target_": "x", "trainer": {**TRAINER, **more}}}})
    assert line.startswith("steps.scft.trainer.")


@pytest.mark.parametrize("name", ["WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"])
def test_one_process(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    assert not list(problems({}))
    monkeypatch.setenv(name, "2")
    (line,) = problems({})
    assert f"unset {name}" in line


def test_the_shell_of_an_allocation_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "8")
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    assert not list(problems({}))
