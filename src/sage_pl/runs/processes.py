"""A run is one process on one device: what would train it several times is found before anything is prepared."""

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
_ALONE = "a run is one process on one device"


def problems(config: Mapping[str, Any]) -> Iterator[str]:
    """A line for every Trainer of a configuration with more than one device, and for a process that is one of several.

    Args:
        config: plain values.
    """
    for path, node in checks.nodes(config):
        if node["_target_"] == "pytorch_lightning.Trainer":
            yield from trainer_problems(path, node)
    yield from _started_often()


def trainer_problems(path: str, node: Mapping[str, Any]) -> Iterator[str]:
    """What in the arguments of a Trainer asks for more than one device.

    Args:
        path: of the node, for messages.
        node: its arguments.
    """
    nodes, strategy, devices = node.get("num_nodes", 1), node.get("strategy"), node.get("devices", "auto")
    if nodes != 1:
        yield f"{path}.num_nodes is {nodes}, and {_ALONE}; leave it out"
    if strategy not in _SINGLE:
        yield f"{path}.strategy is {strategy!r}, and {_ALONE}; leave it out"
    count = hardware.device_count(str(node.get("accelerator", "auto")), devices)
    if count != 1:
        yield f"{path}.devices is {devices}, which are {count} devices here, and {_ALONE}; set {path}.devices=1"


def _started_often() -> Iterator[str]:
    interactive = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")  # an allocation's shell, without srun
    for name, starter in _STARTERS.items():
        count = os.environ.get(name, "1")
        if count.strip() not in ("", "0", "1") and not (interactive and name == "SLURM_NTASKS"):
            yield (
                f"{name}={count} says that {starter} starts this command {count} times, and {_ALONE}; start it once, or "
                f"unset {name}"
            )
