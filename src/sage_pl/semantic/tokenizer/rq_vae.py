"""RQ-VAE: codebooks trained together with an autoencoder of the items' vectors."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pytorch_lightning import Trainer
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from sage_pl.artifacts.files import unfinished
from sage_pl.errors import SettingError
from sage_pl.ranges import Count, Depth, Rate, Temperature, Weight, Width
from sage_pl.semantic.tokenizer.kmeans import codebooks
from sage_pl.semantic.tokenizer.module import EpochOrder, Quantisation
from sage_pl.semantic.tokenizer.residual import Quantised
from sage_pl.semantic.tokenizer.vae import ResidualAutoencoder, evenness_loss, pulling_loss, quantisation_loss
from sage_pl.semantic.tokenizer.views import Views
from sage_pl.semantic.trainers import finish, fit, make_trainer, trainer_settings

log = logging.getLogger(__name__)
SNAPSHOTS = 20  # in a training, each with a checkpoint
SAMPLE = 50_000  # items whose vectors initialise the codebooks


@dataclass(frozen=True)
class Training:
    """AdamW at a constant rate; the trainer sets the length."""

    batch_size: Count = 1024
    lr: Rate = 1e-3
    weight_decay: Weight = 1e-4


@dataclass(frozen=True)
class ResidualVAE:
    """``min L_rec + L_rq + pull L_pull + evenness L_even`` over encoder, decoder and codebooks.

    ``L_rec`` is the mean squared error of the decoded source times its width (1 where only the mean is decoded); the others
    are in :mod:`sage_pl.semantic.tokenizer.vae`. Codebooks start as residual k-means of the untrained encoder's outputs; a code
    unused for an epoch moves to the residual of a random item. The result has the weights of the snapshot with the fewest
    collisions among those whose error is within 2 % of the least: collisions alone would reward noise.

    Args:
        levels: T.
        codes: V, codes per level.
        pull: weight of the contrast with the target, 0 for none.
        width: e, of the latent vectors.
        hidden: widths of the encoder's layers, mirrored by the decoder.
        beta: commitment.
        temperature: of the contrast.
        evenness: weight of the entropy of code frequencies.
        training: batches and rates.
        trainer: ``pytorch_lightning.Trainer`` with its settings, including ``max_epochs``.

    Raises:
        ValueError: a setting is out of range, or there are fewer items than codes.

    Reference: LC-Rec, LETTER (text to codes), Semantic Convergence (collaborative to codes). Differs: LETTER's pull is an inner
    product without temperature, its evenness a contrast between codes of one cluster.
    """

    levels: Depth = 3
    codes: Width = 256
    pull: Weight = 0.1
    width: Width = 32
    hidden: Sequence[Width] = (512, 256, 128)
    beta: Weight = 0.25
    temperature: Temperature = 0.1
    evenness: Weight = 0.01
    training: Training = field(default_factory=Training)
    trainer: partial[Trainer] = field(default_factory=lambda: trainer_settings(max_epochs=200))

    libraries: ClassVar[tuple[str, ...]] = ("scikit-learn", "torch")
    READ_WITH: ClassVar = {"temperature": ("pull", bool)}

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        for key in ("pull", "beta", "temperature", "evenness"):
            object.__setattr__(self, key, float(getattr(self, key)))  # 1 and 1.0 are one artifact
        epochs = self.trainer.keywords.get("max_epochs") or 0
        if min(self.levels, self.codes, self.width, epochs) < 1 or self.temperature <= 0:
            raise SettingError(f"{self} wants at least one level, code, dimension and epoch, a positive temperature")

    def fit(self, views: Views, seed: int, out: Path | None = None) -> Quantised:
        """Latent vectors [N, e] and codebooks [T, V, e]; writes ``metrics.csv``, the losses, into ``out``.

        An interrupted training resumes from its last snapshot.
        """
        targets = views.target if views.target is not None and self.pull > 0 else views.source[:, :0]
        rows = (views.source, targets, views.trust)
        data = TensorDataset(*(torch.from_numpy(np.asarray(part, dtype=np.float32)) for part in rows))
        source, shape = data.tensors[0], (self.width, self.hidden, self.levels, self.codes)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = ResidualAutoencoder(source.shape[1], *shape, targets.shape[1] or None)
        sample = np.sort(np.random.default_rng(seed).permutation(len(source))[:SAMPLE])
        with torch.no_grad():
            latent = network.encoder(source[torch.from_numpy(sample)]).numpy()
            network.codebooks.copy_(torch.from_numpy(codebooks(latent, self.levels, self.codes, 10, seed)))
        self._train(network, data, seed, out)
        with torch.no_grad():
            return Quantised(network.encoder(source).numpy(), network.codebooks.detach().numpy())

    def _train(self, network: ResidualAutoencoder, data: TensorDataset, seed: int, out: Path | None) -> None:
        """Train; the network ends with the weights of the best snapshot, float32 on the CPU."""
        settings, folder = self.training, unfinished(out) if out else None
        every = max(1, self.trainer.keywords["max_epochs"] // SNAPSHOTS)
        trainer = make_trainer(self.trainer, folder, every_n_epochs=every)
        order = EpochOrder(len(data), settings.batch_size, seed)
        optimizer = partial(torch.optim.AdamW, lr=settings.lr, weight_decay=settings.weight_decay)
        module = Quantisation(network, data.tensors[0], order, self._loss, optimizer, every)
        fit(trainer, module, DataLoader(data, None, sampler=order, generator=torch.Generator()))
        if not module.snapshots:
            raise SettingError("the RQ-VAE's error became infinite; set steps.tokens.quantiser.training.lr lower")
        best = min(module.snapshots, key=lambda snapshot: (snapshot.collisions, snapshot.error))
        log.info("RQ-VAE: error %.4f, %.1f %% of the items in collisions", best.error, 100 * best.collisions)
        network.float().load_state_dict(best.weights)
        if out and folder:
            finish(folder, out)

    def _loss(self, network: ResidualAutoencoder, *batch: Tensor) -> tuple[Tensor, Tensor]:
        source, target, trust = batch
        encoded = network(source)
        loss = source.shape[1] * F.mse_loss(network.decoder(encoded.through), source)
        loss = loss + quantisation_loss(encoded.residuals, encoded.chosen, self.beta)
        if self.evenness:
            loss = loss + self.evenness * evenness_loss(encoded.residuals, network.codebooks)
        if network.projection is not None:
            projected = network.projection(encoded.through)
            loss = loss + self.pull * pulling_loss(projected, target, trust, self.temperature)
        return loss, encoded.codes
