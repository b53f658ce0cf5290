"""A table in shards is the table of one process: start, losses, steps, ranks, lists, checkpoints; what it does not go with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sage_pl import processes
from sage_pl.evaluation.ranks import full_ranks, sampled_ranks, top_k
from sage_pl.evaluation.shards import Shard
from sage_pl.nn.item_encoders.id import IdEncoder
from sage_pl.nn.item_encoders.sharded import ShardedIds, in_every_process, shards_of
from sage_pl.nn.losses.base import LossTerm
from sage_pl.nn.modules.sequential import SequentialRecommender
from sage_pl.nn.objectives.bce import BCE
from sage_pl.nn.objectives.sampled_softmax import SampledSoftmax
from sage_pl.nn.sequence_encoders.single import SingleView
from sage_pl.runs import requirements
from sage_pl.runs.checks import ConfigError, check_weights
from sage_pl.runs.sharded import gather_tables, take_shards
from sage_pl.training.callbacks.gradient_norms import norms
from tests.golden.prepared import N_ITEMS, Artifacts, make_backbone, make_targets
from tests.joined import joined
from tests.nn.modules.conftest import artifacts
from tests.nn.modules.test_waits import ROW_ADAM, loaded
from tests.planned import planned

__all__ = ["artifacts"]  # a fixture
START = (
    torch.randn(N_ITEMS + 2, 8, generator=torch.Generator().manual_seed(2)) * (torch.arange(N_ITEMS + 2) > 0)[:, None]
)
SHARDED = ["method=plain", "item_encoder=sharded", "objective=sampled_softmax", "optimizer=row_adam"]


def trained(losses: Mapping[str, LossTerm], folder: Path, encoder: type, batches: list[Any]) -> dict[str, Any]:
    """Of a model for each backbone and loss, after a step of each batch: losses, norms of gradients, and what a checkpoint
    holds. Losses are made before, since they read files by threads that no forked process has.
    """
    results = {}
    for backbone, loss in losses.items():
        torch.manual_seed(4)
        items = encoder(N_ITEMS, 8, **({"sparse": True} if encoder is IdEncoder else {}))
        items.table.weight.data = START[processes.rank() :: processes.world()].float()
        reader, targets = SingleView(make_backbone(backbone)), make_targets(backbone)
        model = SequentialRecommender(items, reader, targets, loss, {}, ROW_ADAM).double()
        optimizer: Any = model.configure_optimizers()
        processes.seed(3)
        values: dict[str, Tensor] = {}
        for number, batch in enumerate(batches):
            optimizer.zero_grad()
            total = model.training_step(batch, 0)
            values[f"loss {number}"] = processes.mean(total.detach())
            total.backward()
            model.on_after_backward()
            values |= {f"{number} {name}": norm for name, norm in norms(model).items()}
            optimizer.step()
        checkpoint: dict[str, Any] = {"state_dict": model.state_dict(), "optimizer_states": [optimizer.state_dict()]}
        gather_tables(checkpoint, model, folder)
        moments = checkpoint["optimizer_states"][0]["state"]
        values |= checkpoint["state_dict"]
        values |= {f"{index} {key}": value for index, state in moments.items() for key, value in state.items()}
        results[backbone] = {name: value.clone() for name, value in values.items()}
    return results


def test_steps_with_shards_are_those_of_one_table(artifacts: Artifacts, tmp_path: Path) -> None:
    """Losses, norms, weights and moments in double precision, with batches that have fewer users than there are processes."""
    whole = {key: loaded(artifacts)[key] for key in ("items", "user")}  # type: ignore[literal-required]
    single = {key: value[:1] for key, value in whole.items()}
    batches = [whole, single]
    losses = {"sasrec": SampledSoftmax(artifacts.sequences), "bert4rec": BCE(artifacts.sequences)}
    first, *_ = joined(lambda: trained(losses, tmp_path, ShardedIds, batches), 3)
    one = trained(losses, tmp_path, IdEncoder, batches)
    assert first.keys() == one.keys()
    for name, of_one in one.items():
        torch.testing.assert_close(
            first[name], of_one, rtol=1e-6, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("states_of", [1, 3])
def test_ranks_and_lists_of_shards_are_those_of_the_table(states_of: int) -> None:
    draw = torch.Generator().manual_seed(1)
    table = torch.randn(53, 6, generator=draw)
    table[20] = table[31]  # a tie
    shape = (17, 6) if states_of == 1 else (17, states_of, 6)
    states = torch.randn(shape, generator=draw)
    answers = torch.randint(1, 52, (17,), generator=draw)
    candidates, seen = (torch.randint(low, 52, (17, 9), generator=draw) for low in (1, 0))
    allowed = torch.rand(53, generator=draw) < 0.5

    def results() -> list[Tensor]:
        rows = table[processes.rank() :: processes.world()]
        items: Any = Shard(rows, len(table)) if processes.world() > 1 else table
        ranks = [full_ranks(states, items, answers, of) for of in (None, seen)]
        ranks += [full_ranks(states, items, answers, seen, block=40), sampled_ranks(states, items, answers, candidates)]
        best = [
            top_k(states, items, 60),
            top_k(states, items, 5, seen, allowed=allowed),
            top_k(states, items, 5, block=40),
        ]
        return [*ranks, *(part for one in best[1:] for part in one), best[0].scores, items[7:40], items[candidates]]

    one = results()
    for count in (2, 4):
        for part in joined(results, count):
            assert all(torch.equal(*pair) for pair in zip(part, one, strict=True))


def test_a_checkpoint_holds_the_table_and_fits_any_number_of_processes(tmp_path: Path) -> None:
    def make() -> ShardedIds:
        torch.manual_seed(0)
        return ShardedIds(8, 3)

    whole = make().state_dict()

    def taken() -> tuple[Tensor, Tensor, int]:
        encoder = make()
        checkpoint: dict[str, Any] = {"state_dict": dict(whole)}
        check_weights(encoder, whole)
        take_shards(checkpoint, encoder)
        encoder.load_state_dict(checkpoint["state_dict"])
        assert torch.equal(encoder.table.weight, make().table.weight)
        assert not list(in_every_process(encoder))
        gather_tables(checkpoint, encoder, tmp_path)
        shard = encoder.table.weight.detach().clone()
        return checkpoint["state_dict"]["table.weight"].clone(), shard, shards_of(encoder)["table.weight"].elsewhere

    assert not whole["table.weight"][0].any()
    assert whole["table.weight"][1:].all()
    for count in (2, 3):
        parts = joined(taken, count)
        assert torch.equal(parts[0][0], whole["table.weight"])
        for rank, (_, shard, elsewhere) in enumerate(parts):
            assert torch.equal(shard, whole["table.weight"][rank::count])
            assert elsewhere == 30 - shard.numel()
    assert not list(tmp_path.glob(".shards-*"))


@pytest.mark.parametrize(
    ("overrides", "sentences"),
    [
        (
            ["objective=softmax", "optimizer=adam", "+loss/term@loss.terms.mse=mse", "callbacks=averaged"],
            [
                "Softmax, which reads every item; set objective=sampled_softmax",
                "an optimizer of whole tables; set optimizer=row_adam",
                "loss terms; use method=plain",
                "callbacks.averaged, which averages weights; set callbacks.averaged=null",
            ],
        ),
        (
            ["model=cosine", "scorer=semantic"],
            ["use it with method=plain, as the items alone", "a scorer; use method=plain"],
        ),
    ],
)
def test_what_shards_do_not_go_with_is_refused_before_preparation(
    small_world: Path, overrides: list[str], sentences: list[str]
) -> None:
    data = ["dataset=folder", f"dataset.path={small_world}", "embedder=tfidf"]
    with pytest.raises(ConfigError, match=r"item_encoder=sharded does not go with ") as error:
        requirements.check(planned(*data, *SHARDED, *overrides))
    assert all(sentence in str(error.value) for sentence in sentences)


def test_one_process_has_all_rows() -> None:
    encoder = ShardedIds(8, 3)
    assert not shards_of(encoder)
    ids = torch.tensor([4, 0, 9])
    assert torch.equal(encoder.views(ids)["id"], encoder.table.weight[ids])
