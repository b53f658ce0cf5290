"""One run on several devices of this machine: a process for each, which the command's own process starts and ends.

Lightning's launcher repeats the command when training begins: Hydra would compose it again, and a second process would ask
for the run's folder and for artifacts that are being made. Here the processes start before preparation with the composed
configuration, and follow rank 0 (:mod:`sage_pl.processes`).
"""

from __future__ import annotations

import copy
import logging
import multiprocessing
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import setup_globals
from omegaconf import DictConfig, flag_override
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities import rank_zero_only
from torch.distributed import TCPStore
from torch.nn.parallel import DistributedDataParallel

from sage_pl import hardware, processes
from sage_pl.artifacts.weights import read_weights
from sage_pl.errors import UserError
from sage_pl.nn.item_encoders.sharded import in_every_process, shards_of
from sage_pl.runs import sharded

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

_HOST = "127.0.0.1"
_HERE = "here"


class ProcessError(RuntimeError):
    """A process that follows ended with an error; the message is its traceback."""


class FollowedError(UserError):
    """A process that follows met a mistake of the user."""


class _Follower(NamedTuple):
    rank: int
    process: BaseProcess
    pipe: Connection


def devices_of(trainer: Mapping[str, Any]) -> int:
    """How many devices of this machine the settings of a Trainer name."""
    return hardware.device_count(str(trainer.get("accelerator", "auto")), trainer.get("devices", "auto"))


def strategy() -> dict[str, Any]:
    """Arguments of Lightning's Trainer by which it trains with the processes of this run."""
    if processes.world() == 1:
        return {"strategy": "auto"}
    return {"strategy": _Together(cluster_environment=_Started())}


class _Together(DDPStrategy):
    """Lightning's processes without torch's wrapper around the module, which averages gradients itself
    (:func:`sage_pl.nn.modules.gathering.average_gradients`): weights without a gradient, and gradients of rows, are no special
    case, and nothing else is sent. Checkpoints hold tables in shards whole (:mod:`sage_pl.runs.sharded`).
    """

    def setup(self, trainer: pl.Trainer) -> None:
        assert self.model is not None
        names = list(shards_of(self.model))
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(self.model, names)  # else all get rank 0's
        super().setup(trainer)

    def configure_ddp(self) -> None:
        assert self.model is not None
        for tensor in (*in_every_process(self.model), *self.model.buffers()):
            processes.share(tensor)

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        assert self.lightning_module is not None
        sharded.gather_tables(checkpoint, self.lightning_module, Path(filepath).parent)
        super().save_checkpoint(checkpoint, filepath, storage_options)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        assert self.lightning_module is not None
        if not shards_of(self.lightning_module):
            return super().load_checkpoint(checkpoint_path, weights_only)
        checkpoint = read_weights(checkpoint_path, mapped=True)
        sharded.take_shards(checkpoint, self.lightning_module)
        return checkpoint


class _Started(LightningEnvironment):
    """Processes that exist already."""

    @property
    def creates_processes_externally(self) -> bool:
        return True

    def world_size(self) -> int:
        return processes.world()

    def global_rank(self) -> int:
        return processes.rank()

    def local_rank(self) -> int:
        return processes.rank()

    def node_rank(self) -> int:
        return 0


@contextmanager
def together(config: DictConfig, trainer: Mapping[str, Any], follow: Callable[[DictConfig], object]) -> Iterator[None]:
    """Within it, ``trainer.devices`` processes are one group, of which this one is rank 0; they end with it.

    An error of any of them ends all, and is the one that is raised. Ctrl-C reaches rank 0 alone.

    Args:
        config: as Hydra composed it.
        trainer: settings of the Trainer.
        follow: a function of a module; the other processes call it with ``config``, as members of the group.

    Raises:
        FollowedError, ProcessError: another process ended with an error.
    """
    count = devices_of(trainer)
    if count == 1 or processes.world() > 1:
        yield
        return
    store = TCPStore(_HOST, 0, count + 1, is_master=True, wait_for_workers=False)
    followers = [_start(rank, count, store.port, config, follow) for rank in range(1, count)]
    try:
        for follower in followers:
            _hear(follower)  # it has begun
        processes.join(0, count, store)
        yield
        for follower in followers:
            _hear(follower)  # it has ended
    except Exception as error:
        if not isinstance(error, UserError | ProcessError):
            _raise_theirs(followers, error)
        raise
    finally:
        for follower in followers:
            follower.process.kill()  # it writes nothing; in a collective operation it would not see another signal
            follower.process.join()
        processes.leave()


def _start(rank: int, count: int, port: int, config: DictConfig, follow: Callable[[DictConfig], object]) -> _Follower:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    hydra = HydraConfig.instance().cfg
    process = context.Process(target=_run, args=(rank, count, port, hydra, config, follow, sender))
    process.start()
    sender.close()
    return _Follower(rank, process, receiver)


def _set_hydra(hydra: DictConfig, config: DictConfig) -> None:
    """Hydra's own node beside the configuration, as in the command's process, since either may refer to the other."""
    whole = copy.deepcopy(config)
    with flag_override(whole, ["readonly", "struct"], [False, False]):
        whole.hydra = hydra.hydra
    HydraConfig.instance().set_config(whole)


def _hear(follower: _Follower, seconds: float | None = None) -> None:
    """Wait until a follower says that all is well."""
    wait([follower.pipe, follower.process.sentinel], seconds)
    try:
        kind, text = follower.pipe.recv() if follower.pipe.poll() else (_HERE, "")
    except EOFError:
        follower.process.join()
        code = follower.process.exitcode
        raise ProcessError(f"process {follower.rank} of the run ended with exit code {code}") from None
    if kind == "mistake":
        raise FollowedError(text)
    if kind == "error":
        raise ProcessError(f"process {follower.rank} of the run failed:\n{text}")


def _raise_theirs(followers: list[_Follower], error: Exception) -> None:
    """Raise what another process ended with, by which this one then failed too."""
    for follower in followers:
        try:
            _hear(follower, seconds=2)
        except (FollowedError, ProcessError) as cause:
            raise cause from error


def _run(
    rank: int,
    count: int,
    port: int,
    hydra: DictConfig,
    config: DictConfig,
    follow: Callable[[DictConfig], object],
    pipe: Connection,
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    rank_zero_only.rank = rank  # type: ignore[attr-defined]
    setup_globals()
    _set_hydra(hydra, config)
    try:
        pipe.send((_HERE, ""))
        processes.join(rank, count, TCPStore(_HOST, port, count + 1, is_master=False))
        follow(config)
        pipe.send((_HERE, ""))
    except UserError as error:
        pipe.send(("mistake", str(error)))
    except BaseException:  # noqa: BLE001 - rank 0 raises it
        pipe.send(("error", traceback.format_exc()))
