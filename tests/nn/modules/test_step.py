import numpy as np
import pytest
import torch
from torch import Tensor

from sage_pl.data.datamodule import SequenceDataModule
from sage_pl.nn.modules.sequential import SequentialRecommender
from sage_pl.nn.modules.step import TrainingStep, prepare_batch
from sage_pl.types import real
from tests.golden.prepared import BACKBONES
from tests.nn.modules.conftest import MakeModel


def step_of(model: SequentialRecommender, datamodule: SequenceDataModule, terms: list[str]) -> TrainingStep:
    batch = datamodule.train_dataloader().dataset[np.array([1, 3, 5])]
    chosen = [model.terms[name] for name in terms]
    return model.step(prepare_batch(batch, model.targets, chosen, model.item_encoder.n_items + 1))


@pytest.mark.parametrize("terms", [["distillation", "alignment"], ["recommendation"]], ids=["batch", "catalogue"])
def test_items_are_encoded_once(
    terms: list[str], make_model: MakeModel, datamodule: SequenceDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, asked = make_model(), []
    views = model.item_encoder.views

    def counted(ids: Tensor) -> dict[str, Tensor]:
        asked.append(ids)
        return views(ids)

    monkeypatch.setattr(model.item_encoder, "views", counted)
    step = step_of(model, datamodule, terms)
    for name in terms:
        model.terms[name](step)
    (ids,) = asked
    used = torch.cat([step.batch["items"].flatten(), *(i.flatten() for i in step.batch["neighbour_items"])])
    wanted = torch.arange(12) if terms == ["recommendation"] else used.unique()
    assert torch.equal(ids, wanted)


def test_a_term_over_one_view_of_the_catalogue_costs_no_other_view(
    make_model: MakeModel, datamodule: SequenceDataModule
) -> None:
    model, encoded = make_model().double(), []
    model.item_encoder.adapter.register_forward_hook(lambda *call: encoded.append(len(call[2])))
    step = step_of(model, datamodule, ["prototype", "alignment"])
    losses = [model.terms[name](step) for name in ("prototype", "alignment")]
    assert encoded == [step.batch["items"].unique().numel()]
    naive = step_of(model, datamodule, ["prototype", "alignment", "recommendation"])
    assert encoded[1:] == [12]
    expected = [model.terms[name](naive) for name in ("prototype", "alignment")]
    torch.testing.assert_close(losses, expected, atol=1e-12, rtol=0)
    weights = list(model.item_encoder.parameters())
    found, wanted = (torch.autograd.grad(sum(pair), weights) for pair in (losses, expected))  # type: ignore[arg-type]
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=0)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_users_state_is_the_one_they_are_served_with(
    backbone: str, make_model: MakeModel, datamodule: SequenceDataModule
) -> None:
    model = make_model(backbone).double()
    step = step_of(model, datamodule, ["distillation"])
    whole = datamodule.train_dataloader().dataset[np.array([1, 3, 5])]["items"]
    served = model.states(whole[:, :-1])
    torch.testing.assert_close(step.user_states(), served, atol=1e-12, rtol=0)
    assert step.user_states().requires_grad


@pytest.mark.parametrize("backbone", BACKBONES)
def test_teachers_are_encoded_as_served_and_without_gradient(
    backbone: str, make_model: MakeModel, datamodule: SequenceDataModule
) -> None:
    model = make_model(backbone).double()
    step = step_of(model, datamodule, ["distillation"])
    groups = step.batch["neighbour_items"]
    states = step.encode(groups)
    assert len(groups) > 1
    assert not states.requires_grad
    torch.testing.assert_close(states, torch.cat([model.states(items) for items in groups]), atol=1e-12, rtol=0)


@pytest.mark.parametrize("training", [True, False])
def test_teachers_are_encoded_without_dropout_and_every_part_stays_in_its_mode(
    training: bool, make_model: MakeModel, datamodule: SequenceDataModule
) -> None:
    model = make_model()
    model.sequence_encoder.backbone.dropout.p = 0.9  # type: ignore[union-attr, operator]
    step = step_of(model.train(training), datamodule, ["distillation"])
    frozen = next(part for part in model.sequence_encoder.modules() if not list(part.children()))
    frozen.train(not training)
    modes = [part.training for part in model.sequence_encoder.modules()]
    first, second = (step.encode(step.batch["neighbour_items"]) for _ in range(2))
    assert torch.equal(first, second)
    assert [part.training for part in model.sequence_encoder.modules()] == modes
    assert len(set(modes)) == 2


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_further_pass_has_a_dropout_of_its_own_and_is_the_same_without_any(
    backbone: str, make_model: MakeModel, datamodule: SequenceDataModule
) -> None:
    model = make_model(backbone).double()
    step = step_of(model, datamodule, ["distillation"])
    torch.testing.assert_close(step.user_states(again=True), step.user_states(), atol=1e-12, rtol=0)
    teachers = step.batch["neighbour_items"]
    torch.testing.assert_close(step.encode(teachers, dropout=True), step.encode(teachers), atol=1e-12, rtol=0)
    model.sequence_encoder.backbone.dropout.p = 0.5  # type: ignore[union-attr, operator]
    noisy = step_of(model.train(), datamodule, ["distillation"])
    assert noisy.user_states(again=True).requires_grad
    assert not torch.equal(noisy.user_states(again=True), noisy.user_states())
    first, second = (noisy.encode(teachers, dropout=True) for _ in range(2))
    assert not torch.equal(first, second)
    assert not first.requires_grad


def test_the_sequences_are_those_of_the_targets(make_model: MakeModel, datamodule: SequenceDataModule) -> None:
    step = step_of(make_model("bert4rec"), datamodule, ["distillation"])
    assert len(step.hidden) == len(step.batch["items"]) == 6
    assert step.mask_token == 11
    assert (step.batch["items"] == 11).any()
    assert torch.equal(step.hidden.any(-1), real(step.batch["items"]))
