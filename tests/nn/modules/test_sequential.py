import functools
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from sage_pl.data.datamodule import SequenceDataModule
from sage_pl.nn.item_encoders import encoded
from sage_pl.nn.item_encoders.encoded import ItemVectors
from sage_pl.nn.item_encoders.id import IdEncoder
from sage_pl.nn.modules.sequential import SequentialRecommender
from sage_pl.nn.scorers.semantic import SemanticSimilarity
from sage_pl.nn.sequence_encoders.dual import DualView
from sage_pl.nn.sequence_encoders.single import SingleView
from sage_pl.training.callbacks.epoch_seed import EpochSeed
from sage_pl.types import SeqBatch
from tests.golden.prepared import BACKBONES, N_ITEMS, Artifacts, adam, left_pad, make_backbone, make_targets
from tests.nn.modules.conftest import MakeModel

HISTORIES = left_pad([[1, 2, 3], [4], [5, 6, 7, 8]])
ANSWERS = torch.tensor([4, 9, 5])


def trainer(tmp_path: Path, **settings: Any) -> pl.Trainer:
    quiet: dict[str, Any] = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
        "default_root_dir": tmp_path,
    }
    return pl.Trainer(**quiet, **settings)


def scores(model: SequentialRecommender) -> Tensor:
    """[B, R], each history on its own, without padding."""
    states = [model.states(row[row > 0][None])[0] for row in HISTORIES]
    return (torch.stack(states).double() @ model.output_table().double().T).float()


def test_states_and_items_of_different_widths_are_refused() -> None:
    encoders = IdEncoder(N_ITEMS, dim=8), DualView(make_backbone("sasrec"))
    with pytest.raises(ValueError, match=r"states are 16 wide, the items' vectors 8 .*use item_encoder=dual"):
        SequentialRecommender(*encoders, make_targets("sasrec"), None, {}, adam)  # type: ignore[arg-type]


@pytest.mark.parametrize("sage", [False, True], ids=["plain", "sage"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_fit_logs_every_term_and_moves_every_trained_part(
    backbone: str, sage: bool, make_model: MakeModel, datamodule: SequenceDataModule, tmp_path: Path
) -> None:
    model = make_model(backbone, sage)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    run = trainer(tmp_path, max_epochs=2, limit_val_batches=0)
    run.fit(model, datamodule)

    named = {"recommendation", "distillation", "alignment", "prototype"} if sage else {"recommendation"}
    logged = {name.rpartition("/")[2]: value for name, value in run.callback_metrics.items() if "loss/" in name}
    assert logged.keys() == named
    assert all(value.isfinite() and value > 0 for value in logged.values())
    total = sum(model.terms[name].weight * value for name, value in logged.items())
    torch.testing.assert_close(run.callback_metrics["train/loss"], total)
    assert [name for name, p in model.named_parameters() if torch.equal(p, before[name])] == []


def test_what_the_losses_read_is_known(make_model: MakeModel, datamodule: SequenceDataModule) -> None:
    assert make_model(sage=False).needs == frozenset()
    assert make_model().needs == {"neighbours", "users_with_teachers", "neighbour_items"} <= datamodule.provides


@pytest.mark.parametrize("backbone", BACKBONES)
def test_ranks_equal_brute_force(backbone: str, make_model: MakeModel) -> None:
    model = make_model(backbone).eval()
    candidates = torch.tensor([[1, 2], [5, 6], [9, 10]])
    batch: SeqBatch = {"items": HISTORIES, "answer": ANSWERS, "candidates": candidates, "seen": HISTORIES}
    ranks, plain = model.answer_ranks(batch), model.answer_ranks({"items": HISTORIES, "answer": ANSWERS})

    table = scores(model)
    for row, answer in enumerate(ANSWERS.tolist()):
        seen = set(HISTORIES[row].tolist())
        better = {i for i in range(1, N_ITEMS + 1) if table[row, i] > table[row, answer]}
        assert plain["full"][row] == 1 + len(better)
        assert ranks["full"][row] == (N_ITEMS if answer in seen else 1 + len(better - seen))
        assert ranks["sampled2"][row] == 1 + len(better & set(candidates[row].tolist()))
    assert plain.keys() == {"full"}


@pytest.mark.parametrize("exclude_seen", [True, False], ids=["new items", "all items"])
def test_recommendations_are_the_best_scores(exclude_seen: bool, make_model: MakeModel) -> None:
    model = make_model().eval()
    best = model.recommend(HISTORIES, 3, exclude_seen)
    for row, ids in enumerate(best.ids.tolist()):
        allowed = set(range(1, N_ITEMS + 1)) - (set(HISTORIES[row].tolist()) if exclude_seen else set())
        table = scores(model)[row].tolist()
        assert ids == sorted(allowed, key=table.__getitem__, reverse=True)[:3]
        assert best.scores[row].tolist() == pytest.approx([table[i] for i in ids], rel=1e-5)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_served_state_ignores_padding_and_other_users(backbone: str, make_model: MakeModel) -> None:
    model = make_model(backbone).double().eval()
    states = model.states(torch.nn.functional.pad(HISTORIES, (2, 0)))
    for row, state in zip(HISTORIES, states, strict=True):
        torch.testing.assert_close(model.states(row[row > 0][None])[0], state, atol=1e-12, rtol=0)


@pytest.mark.parametrize("table_mb", [1, 0], ids=["kept", "made anew"])
def test_validation_keeps_a_table_that_fits_its_memory(
    table_mb: float, make_model: MakeModel, datamodule: SequenceDataModule, tmp_path: Path
) -> None:
    model, tables = make_model(), []
    model.table_mb = table_mb

    class Watch(pl.Callback):
        def on_validation_batch_end(self, *_: Any) -> None:
            tables.append(model.ranking_table())

        def on_validation_epoch_end(self, *_: Any) -> None:
            outputs = model.output_table()[:]
            assert torch.equal(outputs, tables[0][:])
            assert (outputs.data_ptr() == tables[0].data_ptr()) if table_mb else isinstance(tables[0], ItemVectors)

    trainer(tmp_path, callbacks=[Watch()]).validate(model, datamodule, verbose=False)
    assert len(tables) > 1
    assert all(table is tables[0] for table in tables)
    assert model._table is None


@pytest.mark.parametrize("scorer", [False, True], ids=["alone", "scorer"])
def test_ranking_block_by_block_equals_ranking_a_table(
    scorer: bool, artifacts: Artifacts, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoded, "_BLOCK", 5)
    model = make_model().eval()
    model.item_encoder.text.table[7] = model.item_encoder.text.table[3]  # type: ignore[union-attr, index, operator]
    model.item_encoder.table.weight.data[7] = model.item_encoder.table.weight[3]  # type: ignore[union-attr, operator, index]
    if scorer:
        model.scorer = SemanticSimilarity(N_ITEMS, artifacts.text, 2.0)
    candidates = torch.tensor([[1, 7], [5, 6], [9, 10]])
    batch: SeqBatch = {"items": HISTORIES, "answer": torch.tensor([3, 9, 7]), "candidates": candidates}
    found = []
    for table_mb in (1, 0):
        model.table_mb = table_mb
        found.append((model.answer_ranks(batch), model.recommend(HISTORIES, 10, False)))
    assert isinstance(model.ranking_table(), ItemVectors)
    (ranks, best), (block_ranks, block_best) = found
    assert ranks.keys() == block_ranks.keys()
    assert all(torch.equal(ranks[name], block_ranks[name]) for name in ranks)
    assert torch.equal(best.scores, block_best.scores)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_training_step_in_mixed_precision(
    backbone: str, make_model: MakeModel, datamodule: SequenceDataModule, tmp_path: Path
) -> None:
    model = make_model(backbone)
    run = trainer(tmp_path, max_steps=1, precision="bf16-mixed", limit_val_batches=1, num_sanity_val_steps=0)
    run.fit(model, datamodule)
    assert all(p.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_losses_in_mixed_precision_are_those_of_single_precision(
    backbone: str, make_model: MakeModel, datamodule: SequenceDataModule
) -> None:
    """bfloat16 holds 8 bits, so that a number is off by up to 0.4 %; sums of them by less than 1 % here."""
    model, batch = make_model(backbone), next(iter(datamodule.train_dataloader()))
    batch = model.on_before_batch_transfer(batch, 0)
    found = []
    for mixed in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            step = model.step(batch)
            found.append(torch.stack([term(step).float() for term in model.terms.values()]))
    exact, rounded = found
    assert not torch.equal(exact, rounded), "nothing was rounded"
    torch.testing.assert_close(rounded, exact, rtol=0.01, atol=1e-3)


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
def test_clipping_with_a_fused_optimizer_says_where_it_cannot(
    precision: Any, make_model: MakeModel, datamodule: SequenceDataModule, tmp_path: Path
) -> None:
    model = make_model()
    model.optimizer = functools.partial(torch.optim.Adam, fused=True)
    run = trainer(tmp_path, max_steps=1, precision=precision, gradient_clip_val=0.1, limit_val_batches=0)
    if precision == "32-true":
        run.fit(model, datamodule)
    else:
        with pytest.raises(
            ValueError, match=r"clip_val=0.1 with trainer.precision=bf16-mixed .* optimizer.fused=false"
        ):
            run.fit(model, datamodule)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_fused_steps_are_those_of_adam(
    dtype: torch.dtype, make_model: MakeModel, datamodule: SequenceDataModule
) -> None:
    weights = []
    for fused in (True, False):
        torch.manual_seed(0)
        model = make_model().to(dtype)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=0.1, fused=fused)
        for batch in [*datamodule.train_dataloader()] * 2:
            optimizer.zero_grad()
            model.training_step(batch, 0).backward()
            optimizer.step()
        weights.append(model.state_dict())
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=1e-5 if dtype == torch.float32 else 1e-12)


def test_the_same_seed_gives_the_same_weights(
    make_model: MakeModel, datamodule: SequenceDataModule, tmp_path: Path
) -> None:
    fitted = []
    for noise in range(2):
        torch.manual_seed(0)
        model = make_model("bert4rec")
        torch.manual_seed(noise)  # what happened before the epoch must not matter
        run = trainer(tmp_path, max_epochs=2, limit_val_batches=0, callbacks=[EpochSeed(3)])
        run.fit(model, datamodule)
        fitted.append(model.state_dict())
    assert all(torch.equal(value, fitted[1][name]) for name, value in fitted[0].items())


def test_the_checkpoint_carries_what_it_can_be_rebuilt_from(
    make_model: MakeModel, datamodule: SequenceDataModule, tmp_path: Path
) -> None:
    model = make_model()
    model.stored = {"config": {"seed": 1}}
    run = trainer(tmp_path, max_steps=1, limit_val_batches=0)
    run.fit(model, datamodule)
    run.save_checkpoint(tmp_path / "last.ckpt")
    content = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert content["sage_pl"] == {"config": {"seed": 1}}
    assert not [name for name in content["state_dict"] if name.endswith((".text.table", ".candidate_ids"))]


def test_a_single_view_must_be_one_the_items_have(artifacts: Artifacts, make_model: MakeModel) -> None:
    model = make_model(sage=False)
    model.sequence_encoder = SingleView(make_backbone("sasrec"), "text").float()
    with pytest.raises(KeyError, match="text"):
        model.states(HISTORIES)
