"""Our side: the plain method of ``train.py`` with the settings of the comparison, one backbone.

``.venv/bin/python benchmarks/peers/train_ours.py SETTINGS.json``; run by ``run.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from exchange import Clock, IntArray, batches, finish, read_settings
from hydra import compose, initialize_config_dir

from sage_pl import hardware
from sage_pl.commands.quiet import quiet_libraries
from sage_pl.data.datamodule import SequenceDataModule
from sage_pl.evaluation.ranks import top_k
from sage_pl.nn.modules.sequential import SequentialRecommender
from sage_pl.runs.parts import Parts, build_parts
from sage_pl.runs.plan import fill_in_artifacts, make_plan, recipe_of
from sage_pl.runs.preparation import prepare
from sage_pl.training.callbacks.epoch_seed import EpochSeed

ROOT = Path(__file__).parent.parent.parent


class Rounds(pl.Callback):
    """Tells the clock of every epoch's start, first step and end."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.clock.begin()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 0:
            self.clock.first_step_ended()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.clock.end("epoch")


def parts(settings: dict[str, Any]) -> Parts:
    overrides = [
        *settings["overrides"],
        "method=plain",
        f"backbone={settings['model']}",
        f"dim={settings['dim']}",
        f"backbone.layers={settings['blocks']}",
        f"dropout={settings['dropout']}",
        f"seed={settings['seed']}",
        f"data.max_len={settings['max_len']}",
        f"data.batch_size={settings['batch_size']}",
        f"optimizer.lr={settings['lr']}",
        "data.candidates=null",
        "evaluation.seen=mask",
        "run_dir=outputs/benchmarks",
        "choices={}",
    ]
    if settings["model"] != "gru4rec":
        overrides.append(f"backbone.heads={settings['heads']}")
    if settings["model"] == "bert4rec":
        overrides.append(f"targets.probability={settings['mask_probability']}")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        plan = make_plan(recipe_of(compose("train", overrides=overrides)))
    return build_parts(fill_in_artifacts(plan.config, prepare(plan)), {})


@torch.no_grad()
def recommend(model: SequentialRecommender, data: SequenceDataModule, k: int) -> IntArray:
    model.eval()
    table = model.ranking_table()
    cases = data.sequences.test
    top = np.empty((len(cases), k), dtype=np.int64)
    for batch in data.test_dataloader():
        top[batch["case"]] = top_k(model.states(batch["items"]), table, k, batch["seen"]).ids
    return top[np.argsort(cases.user)]


def main() -> None:
    settings = read_settings()
    torch.set_num_threads(settings["threads"])
    quiet_libraries()
    hardware.keep_freed_memory()
    pl.seed_everything(settings["seed"], verbose=False)
    clock = Clock(settings)
    datamodule, model, _ = parts(settings)
    trainer = pl.Trainer(
        max_epochs=settings["epochs"],
        limit_train_batches=batches(settings),
        accelerator="cpu",
        callbacks=[EpochSeed(settings["seed"]), Rounds(clock)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    loader = datamodule.train_dataloader()
    trainer.fit(model, loader)
    finish(settings, clock, lambda: recommend(model, datamodule, settings["k"]), len(loader), ("torch", "sage-pl"))


if __name__ == "__main__":
    main()
