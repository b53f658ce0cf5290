"""RQ-VAE: codebooks trained together with an autoencoder of the items' vectors."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sage_pl.hardware import chosen_device
from sage_pl.semantic.tokenizer.collisions import group_sizes
from sage_pl.semantic.tokenizer.kmeans import codebooks
from sage_pl.semantic.tokenizer.residual import Quantised
from sage_pl.semantic.tokenizer.vae import (
    ResidualAutoencoder,
    evenness_loss,
    pulling_loss,
    quantisation_loss,
)
from sage_pl.semantic.tokenizer.views import Views

log = logging.getLogger(__name__)
SLACK = 1.02  # reconstructions within 2 % of the best count as good
LOOKS = 20  # how often the whole catalogue is looked at while training
SAMPLE = 50_000  # items that the codebooks start from


@dataclass(frozen=True)
class Training:
    """AdamW at a constant rate; every epoch sees all items once, in an order that is a function of (seed, epoch)."""

    epochs: int = 200
    batch_size: int = 1024
    lr: float = 1e-3
    weight_decay: float = 1e-4


@dataclass(frozen=True)
class ResidualVAE:
    """``min L_rec + L_rq + pull L_pull + evenness L_even`` over encoder, decoder and codebooks.

    ``L_rec`` is the mean squared error of the decoded source times its width (1 where only the mean is decoded); the rest is
    in :mod:`sage_pl.semantic.tokenizer.vae`. Codebooks start as residual k-means of the untrained encoder's outputs; a code
    that a whole epoch did not use is put on the residual of a random item. Kept are the weights of the look with the
    fewest collisions among those whose reconstruction is within 2 % of the best: collisions alone would reward noise.

    Args:
        levels: T.
        codes: V, codes per level.
        pull: weight of the contrast with the target, 0 for none.
        width: e, of the latent vectors.
        hidden: widths of the encoder's layers, mirrored by the decoder.
        beta: commitment.
        temperature: of the contrast.
        evenness: weight of the entropy of codes wanted.
        training: epochs, batches, rates.
        device: where to compute; None takes an accelerator if there is one.

    Raises:
        ValueError: a setting is out of range, or there are fewer items than codes.

    Reference: LC-Rec, LETTER (text to codes), Semantic Convergence (collaborative to codes). LETTER's pull is an inner
    product without temperature, its evenness a contrast between codes of one cluster.
    """

    levels: int = 3
    codes: int = 256
    pull: float = 0.1
    width: int = 32
    hidden: Sequence[int] = (512, 256, 128)
    beta: float = 0.25
    temperature: float = 0.1
    evenness: float = 0.01
    training: Training = field(default_factory=Training)
    device: str | None = field(default=None, compare=False)

    libraries: ClassVar[tuple[str, ...]] = ("scikit-learn", "torch")

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        for key in ("pull", "beta", "temperature", "evenness"):
            object.__setattr__(self, key, float(getattr(self, key)))  # 1 and 1.0 are one artifact
        if min(self.levels, self.codes, self.width, self.training.epochs) < 1 or self.temperature <= 0:
            raise ValueError(f"{self} wants at least one level, code, dimension and epoch, and a positive temperature")

    def fit(self, views: Views, seed: int) -> Quantised:
        """Latent vectors [N, e] and codebooks [T, V, e]."""
        device = chosen_device(self.device)
        pulled = views.target is not None and self.pull > 0
        rows = (views.source, views.target if pulled else views.source[:, :0], views.trust)
        source, target, trust = (torch.from_numpy(np.asarray(part, dtype=np.float32)).to(device) for part in rows)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = ResidualAutoencoder(
                source.shape[1], self.width, self.hidden, self.levels, self.codes, target.shape[1] or None
            ).to(device)
        self._start(network, source, seed)
        network.load_state_dict(self._train(network, source, target, trust, seed))
        with torch.no_grad():
            latent = network.encoder(source)
        return Quantised(latent.cpu().numpy(), network.codebooks.detach().cpu().numpy())

    def _start(self, network: ResidualAutoencoder, source: Tensor, seed: int) -> None:
        rows = np.random.default_rng(seed).permutation(len(source))[:SAMPLE]
        with torch.no_grad():
            latent = network.encoder(source[torch.from_numpy(np.sort(rows)).to(source.device)])
            found = codebooks(latent.cpu().numpy(), self.levels, self.codes, 10, seed)
            network.codebooks.copy_(torch.from_numpy(found))

    def _train(
        self, network: ResidualAutoencoder, source: Tensor, target: Tensor, trust: Tensor, seed: int
    ) -> Mapping[str, Tensor]:
        """The weights of the best look."""
        from tqdm import trange

        settings = self.training
        optimizer = torch.optim.AdamW(network.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
        looks: list[Look] = []
        for epoch in trange(settings.epochs, desc="RQ-VAE", unit="epoch", disable=not sys.stderr.isatty()):
            generator = np.random.default_rng([seed, epoch])
            used = torch.zeros(self.levels, self.codes, device=source.device)
            order = torch.from_numpy(generator.permutation(len(source))).to(source.device)
            for rows in order.split(settings.batch_size):
                optimizer.zero_grad(set_to_none=True)
                loss, codes = self._loss(network, source[rows], target[rows], trust[rows])
                loss.backward()
                optimizer.step()
                used.scatter_add_(1, codes.T, torch.ones_like(codes.T, dtype=used.dtype))
            if (epoch + 1) % max(1, settings.epochs // LOOKS) == 0:
                looks = worth_keeping([*looks, look(network, source)])
            if epoch + 1 < settings.epochs:
                revive(network, source, used, generator)
        if not looks:
            raise ValueError("the RQ-VAE's error became infinite; set steps.tokens.quantiser.training.lr lower")
        best = min(looks, key=lambda found: (found.collisions, found.error))
        log.info("RQ-VAE: error %.4f, %.1f %% of the items in collisions", best.error, 100 * best.collisions)
        return best.weights

    def _loss(
        self, network: ResidualAutoencoder, source: Tensor, target: Tensor, trust: Tensor
    ) -> tuple[Tensor, Tensor]:
        found = network(source)
        loss = source.shape[1] * F.mse_loss(network.decoder(found.through), source)
        loss = loss + quantisation_loss(found.residuals, found.chosen, self.beta)
        if self.evenness:
            loss = loss + self.evenness * evenness_loss(found.residuals, network.codebooks)
        if network.projection is not None:
            projected = network.projection(found.through)
            loss = loss + self.pull * pulling_loss(projected, target, trust, self.temperature)
        return loss, found.codes


@dataclass(frozen=True)
class Look:
    """The whole catalogue at one epoch: reconstruction error, share of items in collisions, and the weights."""

    error: float
    collisions: float
    weights: dict[str, Any]


@torch.no_grad()
def look(network: ResidualAutoencoder, source: Tensor) -> Look:
    """Error and collisions of all items, with a copy of the weights."""
    found = network(source)
    error = F.mse_loss(network.decoder(found.quantised), source).item()
    shared = float((group_sizes(found.codes.cpu().numpy()) > 1).mean())
    return Look(error, shared, {name: value.clone() for name, value in network.state_dict().items()})


def worth_keeping(looks: Sequence[Look]) -> list[Look]:
    """Those within 2 % of the best error that no other beats in both error and collisions."""
    good = [one for one in looks if one.error <= SLACK * min(other.error for other in looks)]
    return [one for one in good if not any(o.error < one.error and o.collisions <= one.collisions for o in good)]


@torch.no_grad()
def revive(network: ResidualAutoencoder, source: Tensor, used: Tensor, generator: np.random.Generator) -> None:
    """Put every code that was not used on the residual, at its level, of a random item."""
    unused = used == 0
    if not unused.any():
        return
    rows = torch.from_numpy(generator.integers(len(source), size=used.shape[1])).to(source.device)
    residuals = network(source[rows]).residuals
    network.codebooks[unused] = residuals[unused]
