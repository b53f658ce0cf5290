"""The training of the residual-quantised autoencoder: order of the rows, unused codes, snapshots of the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Sampler

from sage_pl.ranges import Seed
from sage_pl.semantic.tokenizer.collisions import group_sizes
from sage_pl.semantic.tokenizer.vae import ResidualAutoencoder

SLACK = 1.02  # reconstructions within 2 % of the best count as good

# network, source, target and trust of a batch -> loss, codes
Loss = Callable[[ResidualAutoencoder, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
Optimizer = Callable[..., torch.optim.Optimizer]


class EpochOrder(Sampler[Tensor]):
    """Rows of each batch, int64 [B]; an epoch is a permutation of all rows, a function of (seed, epoch).

    Lightning calls ``set_epoch``. After the permutation, ``generator`` serves other draws of the epoch.
    """

    def __init__(self, n: int, size: int, seed: Seed) -> None:
        self.n = n
        self.size = size
        self.seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self.generator = np.random.default_rng([self.seed, epoch])

    def __len__(self) -> int:
        return -(-self.n // self.size)

    def __iter__(self) -> Iterator[Tensor]:
        yield from torch.from_numpy(self.generator.permutation(self.n)).split(self.size)


@dataclass(frozen=True)
class Snapshot:
    """Reconstruction error and share of items in collisions over the whole catalogue, and the weights, after an epoch."""

    error: float
    collisions: float
    weights: dict[str, Any]


class Quantisation(pl.LightningModule):
    """Trains encoder, decoder and codebooks, with snapshots of the weights.

    Args:
        network: the autoencoder.
        source: the vectors of all items, [N, D].
        order: of the rows; its generator also draws the items of unused codes.
        loss: of a batch.
        optimizer: of the network's parameters.
        every: epochs between two snapshots.
    """

    source: Tensor

    def __init__(
        self,
        network: ResidualAutoencoder,
        source: Tensor,
        order: EpochOrder,
        loss: Loss,
        optimizer: Optimizer,
        every: int,
    ) -> None:
        super().__init__()
        self.network = network
        self.order = order
        self.loss = loss
        self.optimizer = optimizer
        self.every = every
        self.snapshots: list[Snapshot] = []
        self.register_buffer("source", source, persistent=False)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer(self.network.parameters())

    def on_train_epoch_start(self) -> None:
        self.used = torch.zeros(self.network.codebooks.shape[:2], device=self.device)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss, codes = self.loss(self.network, *batch)
        self.used.scatter_add_(1, codes.T, torch.ones_like(codes.T, dtype=self.used.dtype))
        self.log("train/loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(codes))
        return loss

    def on_train_epoch_end(self) -> None:
        done, trainer = self.current_epoch + 1, self.trainer
        last = trainer.should_stop or trainer.global_step == trainer.max_steps
        if done % self.every == 0 or last:
            self.snapshots = pareto_front([*self.snapshots, take_snapshot(self.network, self.source)])
        if done != trainer.max_epochs and not last:
            revive(self.network, self.source, self.used, self.order.generator)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["snapshots"] = [asdict(snapshot) for snapshot in self.snapshots]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.snapshots = [Snapshot(**fields) for fields in checkpoint["snapshots"]]


@torch.no_grad()
def take_snapshot(network: ResidualAutoencoder, source: Float[Tensor, "N D"]) -> Snapshot:
    """Error and collisions of all items, with a copy of the weights."""
    encoded = network(source)
    error = F.mse_loss(network.decoder(encoded.quantised), source).item()
    shared = float((group_sizes(encoded.codes.cpu().numpy()) > 1).mean())
    return Snapshot(error, shared, {name: value.clone() for name, value in network.state_dict().items()})


def pareto_front(snapshots: Sequence[Snapshot]) -> list[Snapshot]:
    """Snapshots within 2 % of the least error of which none is better in error and as good in collisions."""
    good = [one for one in snapshots if one.error <= SLACK * min(other.error for other in snapshots)]
    return [one for one in good if not any(o.error < one.error and o.collisions <= one.collisions for o in good)]


@torch.no_grad()
def revive(network: ResidualAutoencoder, source: Tensor, used: Tensor, generator: np.random.Generator) -> None:
    """Move every code with 0 in ``used`` [T, V] to the residual, at its level, of a random row of ``source`` [N, D]."""
    unused = used == 0
    if unused.any():
        rows = torch.from_numpy(generator.integers(len(source), size=used.shape[1])).to(source.device)
        network.codebooks[unused] = network(source[rows]).residuals[unused]
