"""RecBole's side: SASRec, GRU4Rec and BERT4Rec with ``loss_type: CE``; run by ``run.py`` in its own environment.

The library trains on every prefix of a sequence, one label each, instead of all positions of a sequence at once. Its batch
therefore holds as many prefixes as our batch has labels on average, so that both sides make equally many updates in an epoch
(``train_batch_size: prefixes / steps``). Its leave-one-out split by time order equals the exported one.

``full_sort_predict`` scores all items; the library does not mask the history of sequential models, so that is done here.
"""

from __future__ import annotations

import itertools
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from exchange import TEST, Clock, Events, IntArray, finish, read_events, read_settings
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.trainer import Trainer
from recbole.utils import get_model, init_seed

NAMES = {"sasrec": "SASRec", "gru4rec": "GRU4Rec", "bert4rec": "BERT4Rec"}


class TimedTrainer(Trainer):
    """Tells the clock of every epoch's start, first step and end, and trains on ``limit`` batches after the first of it."""

    def __init__(self, config: Config, model: torch.nn.Module, clock: Clock, limit: int | None) -> None:
        super().__init__(config, model)
        self.clock = clock
        self.limit = limit

    def _train_epoch(self, train_data: Any, *arguments: Any, **named: Any) -> Any:
        self.clock.begin()
        loss = super()._train_epoch(self._batches(iter(train_data)), *arguments, **named)
        self.clock.end("epoch")
        return loss

    def _batches(self, every: Iterator[Any]) -> Iterator[Any]:
        yield next(every)
        self.clock.first_step_ended()
        yield from itertools.islice(every, self.limit)


def write_atomic_file(events: Events, folder: Path) -> None:
    """The library's own file format."""
    (folder / "events").mkdir(exist_ok=True)
    table = np.stack([events.user, events.item, events.position], axis=1)
    header = "user_id:token\titem_id:token\ttimestamp:float"
    np.savetxt(folder / "events" / "events.inter", table, fmt="%d", delimiter="\t", header=header, comments="")


def prefixes_a_step(settings: dict[str, Any], events: Events) -> int:
    """Training labels divided by the steps that the other sides make in an epoch."""
    counts = np.bincount(events.train.user)
    counts = counts[counts > 1]
    steps = -(-len(counts) // settings["batch_size"])
    return -(-int((counts - 1).sum()) // steps)


def configure(settings: dict[str, Any], batch_size: int) -> Config:
    folder, dim = settings["folder"], settings["dim"]
    return Config(
        model=NAMES[settings["model"]],
        dataset="events",
        config_dict={
            "data_path": folder,
            "checkpoint_dir": str(Path(folder) / "saved"),
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
            "MAX_ITEM_LIST_LENGTH": settings["max_len"],
            "train_batch_size": batch_size,
            "eval_batch_size": 512,
            "epochs": settings["epochs"],
            "learning_rate": settings["lr"],
            "train_neg_sample_args": None,
            "loss_type": "CE",
            "embedding_size": dim,
            "hidden_size": dim,
            "inner_size": dim,
            "n_layers": settings["blocks"],
            "num_layers": settings["blocks"],
            "n_heads": settings["heads"],
            "hidden_dropout_prob": settings["dropout"],
            "attn_dropout_prob": settings["dropout"],
            "dropout_prob": settings["dropout"],
            "mask_ratio": settings["mask_probability"],
            "seed": settings["seed"],
            "reproducibility": False,
            "use_gpu": False,
            "show_progress": False,
            "state": "ERROR",
        },
    )


@torch.no_grad()
def lists(model: torch.nn.Module, cases: Any, seen: list[IntArray], k: int) -> Iterator[tuple[IntArray, IntArray]]:
    """Internal users and their k best items."""
    model.eval()
    for interaction, *_ in cases:
        scores = model.full_sort_predict(interaction).view(len(interaction), -1)
        scores[:, 0] = -torch.inf
        users = interaction["user_id"].numpy()
        known = [seen[user] for user in users]
        rows = np.repeat(np.arange(len(users)), [len(items) for items in known])
        scores[rows, np.concatenate(known)] = -torch.inf
        yield users, scores.topk(k).indices.numpy()


def main() -> None:
    warnings.filterwarnings("ignore")
    settings = read_settings()
    torch.set_num_threads(settings["threads"])
    logging.disable(logging.WARNING)
    events, clock = read_events(settings["events"]), Clock(settings)
    write_atomic_file(events, Path(settings["folder"]))
    config = configure(settings, prefixes_a_step(settings, events))
    init_seed(config["seed"], config["reproducibility"])
    data = create_dataset(config)
    train, _, test = data_preparation(config, data)
    model = get_model(config["model"])(config, train.dataset)
    TimedTrainer(config, model, clock, settings["limit"]).fit(train, verbose=False, saved=False)

    users, items = (np.array(data.field2id_token[name][1:], dtype=np.int64) for name in ("user_id", "item_id"))
    ours = np.concatenate([[0], items])  # our id of an internal one
    internal = np.zeros(events.item.max() + 1, dtype=np.int64)
    internal[items] = np.arange(1, len(items) + 1)
    seen: list[IntArray] = [internal[:0]] * (len(users) + 1)
    at = {int(user): number for number, user in enumerate(users, start=1)}
    for user, history in zip(*events.where(events.part != TEST).sequences(), strict=True):
        seen[at[int(user)]] = internal[history]

    def recommend() -> IntArray:
        top = np.zeros((len(users) + 1, settings["k"]), dtype=np.int64)
        for numbers, best in lists(model, test, seen, settings["k"]):
            top[numbers] = ours[best]
        return top[[at[int(user)] for user in events.test.user]]

    finish(settings, clock, recommend, len(train), ("recbole", "torch"))


if __name__ == "__main__":
    main()
