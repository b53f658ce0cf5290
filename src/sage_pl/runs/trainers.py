"""What a Trainer must not be set to, found before preparation: devices that no process drives, no end, no best epoch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from sage_pl import hardware
from sage_pl.runs import checks

_STARTERS = {  # number of processes, set for each of them -> what starts them
    "WORLD_SIZE": "torchrun",
    "OMPI_COMM_WORLD_SIZE": "mpirun",
    "PMI_SIZE": "mpiexec",
    "SLURM_NTASKS": "srun",
}
_SINGLE = (None, "auto", "single_device")
_TOGETHER = (None, "auto", "ddp")  # of a run's own trainer
_ALONE = "a run is one process on one device"


def device_problems(config: Mapping[str, Any]) -> Iterator[str]:
    """A line for every Trainer of a configuration whose devices cannot be used, and for a process that is one of several.

    A run's own trainer may have several devices of this machine (:mod:`sage_pl.runs.together`), a step's has one.

    Args:
        config: plain values.
    """
    for path, node in checks.nodes(config):
        if node["_target_"] == "pytorch_lightning.Trainer":
            yield from _of_devices(path, node)
    yield from _started_often()


def _of_devices(path: str, node: Mapping[str, Any]) -> Iterator[str]:
    nodes, strategy, devices = node.get("num_nodes", 1), node.get("strategy"), node.get("devices", "auto")
    if nodes != 1:
        yield f"{path}.num_nodes is {nodes}, and a run stays on one machine; leave it out"
    count = hardware.device_count(str(node.get("accelerator", "auto")), devices)
    if path == "trainer":
        allowed = _TOGETHER if count > 1 else (*_TOGETHER, "single_device")
        if strategy not in allowed:
            yield (
                f"{path}.strategy is {strategy!r}, and processes train together by 'ddp' alone, which starts them itself; set "
                f"{path}.strategy=ddp"
            )
        if count < 1:
            yield f"{path}.devices is {devices}, which are {count} devices here; set {path}.devices=1"
        return
    if strategy not in _SINGLE:
        yield f"{path}.strategy is {strategy!r}, and {_ALONE}; leave it out"
    if count != 1:
        yield f"{path}.devices is {devices}, which are {count} devices here, and {_ALONE}; set {path}.devices=1"


def _started_often() -> Iterator[str]:
    interactive = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")  # an allocation's shell, without srun
    for name, starter in _STARTERS.items():
        count = os.environ.get(name, "1")
        if count.strip() not in ("", "0", "1") and not (interactive and name == "SLURM_NTASKS"):
            yield (
                f"{name}={count} says that {starter} starts this command {count} times, and a run starts its processes itself "
                f"(trainer.devices={count}); start it once, or unset {name}"
            )


def end_problems(trainer: Mapping[str, Any], callbacks: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """A line for every reason why a run of this trainer would end without a best epoch, or not at all.

    Returns:
        Lines, with the paths of the parts that they follow from; () where these are unknown.
    """
    epochs, steps, every = (trainer.get(key) for key in ("max_epochs", "max_steps", "check_val_every_n_epoch"))
    stops = any(str(node["_target_"]).endswith(".EarlyStopping") for node in callbacks.values())
    lines: dict[str, tuple[str, ...]] = {
        f"trainer.{key} is 0, and nothing would be trained; wanted at least 1": ("trainer",)
        for key, value in (("max_epochs", epochs), ("max_steps", steps))
        if value == 0
    }
    if epochs == -1 and (steps or -1) == -1 and trainer.get("max_time") is None and not stops:
        line = "trainer.max_epochs is -1, and nothing else ends the training; set it, or trainer.max_steps"
        lines[line] = ("trainer", "callbacks")
    if epochs is not None and every is not None and 0 < epochs < every:
        line = (
            f"trainer.check_val_every_n_epoch is {every}, wanted at most trainer.max_epochs, which is {epochs}; else no "
            "epoch is validated"
        )
        lines[line] = ("trainer",)
    if trainer.get("fast_dev_run"):
        lines["trainer.fast_dev_run keeps no checkpoint, which a run is tested by; use debug=fast_dev_run"] = (
            "trainer",
        )
    if "best" not in callbacks:
        lines["callbacks.best is off, and a run is tested at its best epoch; every other callback may be null"] = ()
    return lines
