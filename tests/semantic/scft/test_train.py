import copy
import functools
import logging

import numpy as np
import pytest
import torch

from sage_pl.nn.losses.contrastive import Decoupled, InfoNCE, SoftTargets
from sage_pl.semantic.language_models.loading import language_model, load_encoder
from sage_pl.semantic.scft import train
from sage_pl.semantic.scft.lora import Lora
from sage_pl.semantic.scft.temperature import Temperature, TrainedTemperature
from sage_pl.semantic.scft.train import Training, batches, pooled, rate_of, tune
from sage_pl.semantic.scft.views import AttributeDropout, ViewPairs
from tests.semantic.scft.tiny import COLUMNS, columns

QUICK = {"max_steps": 4, "batch_size": 6, "lr": 0.01}


def pairs_of(n: int = 20, **settings) -> ViewPairs:
    rows = columns(n)
    return ViewPairs([tuple(rows[name][i] for name in COLUMNS) for i in range(n)], AttributeDropout(**settings))


def adapted(folder: str, **settings):
    torch.manual_seed(0)
    encoder = load_encoder(folder, device="cpu")
    Lora(r=2, **settings).add_to(language_model(encoder))
    return encoder


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_adapters_and_temperature_are_trained_and_nothing_else(kind, request) -> None:
    encoder, temperature = adapted(request.getfixturevalue(kind)), TrainedTemperature(Temperature())
    before = copy.deepcopy(encoder.state_dict())
    losses = tune(encoder, pairs_of(), InfoNCE(), temperature, Training(**QUICK))
    assert len(losses) == 4
    changed = {name for name, value in encoder.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if "lora_" in name}
    assert temperature().item() != pytest.approx(0.05)
    assert not encoder.training


def test_the_loss_falls(llama) -> None:
    losses = tune(
        adapted(llama, dropout=0.0),
        pairs_of(40),
        InfoNCE(),
        TrainedTemperature(Temperature(start=0.2, lr=0)),
        Training(max_steps=30, batch_size=20, lr=0.01),
    )
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_one_seed_gives_one_result(llama) -> None:
    def once() -> tuple[list[float], torch.Tensor]:
        encoder = adapted(llama)
        torch.manual_seed(3)
        losses = tune(encoder, pairs_of(), InfoNCE(), TrainedTemperature(Temperature()), Training(**QUICK))
        return losses, torch.cat([p.flatten() for p in encoder.parameters() if p.requires_grad])

    (losses, weights), (same, equal) = once(), once()
    assert losses == same
    assert torch.equal(weights, equal)


def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(llama, monkeypatch, tmp_path) -> None:
    def tuned(file, last: int | None = None):
        encoder, temperature = adapted(llama), TrainedTemperature(Temperature())
        form = InfoNCE()
        calls = []

        def interrupted(*given):
            calls.append(1)
            if len(calls) == last:
                raise KeyboardInterrupt
            return form(*given)

        torch.manual_seed(1)
        losses = tune(encoder, pairs_of(), interrupted, temperature, Training(**QUICK), file)
        return losses, {n: p.detach() for n, p in encoder.named_parameters() if p.requires_grad}, temperature.log.item()

    monkeypatch.setattr(train, "Progress", functools.partial(train.Progress, every=0))
    whole = tuned(None)
    with pytest.raises(KeyboardInterrupt):
        tuned(tmp_path / "tuning.pt", last=3)
    resumed = tuned(tmp_path / "tuning.pt", last=3)  # two steps are left, so a third is not begun
    assert resumed[0] == whole[0]
    assert resumed[2] == whole[2]
    assert all(torch.equal(resumed[1][name], weight) for name, weight in whole[1].items())


def test_checkpointing_changes_no_result(llama) -> None:
    results = []
    for saving in (False, True):
        settings = Training(**QUICK, gradient_checkpointing=saving)
        losses = tune(adapted(llama), pairs_of(), InfoNCE(), TrainedTemperature(Temperature()), settings)
        results.append(losses)
    np.testing.assert_allclose(*results, atol=1e-4)


def test_bfloat16_is_near(llama) -> None:
    exact, rough = (
        tune(adapted(llama), pairs_of(), InfoNCE(), TrainedTemperature(Temperature()), Training(**QUICK, bf16=bf16))
        for bf16 in (False, True)
    )
    assert exact != rough
    assert rough[0] == pytest.approx(exact[0], rel=0.1)


@pytest.mark.parametrize("form", [Decoupled(), SoftTargets()], ids=lambda form: type(form).__name__)
def test_other_forms_train_too(llama, form) -> None:
    encoder, temperature = adapted(llama), TrainedTemperature(Temperature(start=3.0))
    assert np.isfinite(tune(encoder, pairs_of(), form, temperature, Training(**QUICK))).all()
    assert any(p.any() for name, p in encoder.named_parameters() if "lora_B" in name)


def test_both_sides_of_a_pair_are_encoded_in_place(llama) -> None:
    encoder = load_encoder(llama, device="cpu").eval()
    views = [("name1 brand2", "name3"), ("name4", "name5 brand6 sort7")]
    first, second = pooled(encoder, views, bf16=False)
    for side, got in ((0, first), (1, second)):
        np.testing.assert_allclose(got.detach(), encoder.encode([pair[side] for pair in views]), atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_texts_of_like_length_together_give_the_gradient_of_all_at_once(kind, request, monkeypatch) -> None:
    encoder = adapted(request.getfixturevalue(kind)).eval()
    pairs = pairs_of(9)
    views = [pairs[i] for i in range(9)]
    weights = [p for p in encoder.parameters() if p.requires_grad]
    found = {}
    for budget in (10, 10_000):
        monkeypatch.setattr(train, "BATCH_TOKENS", budget)
        loss = InfoNCE()(*pooled(encoder, views, bf16=False), torch.tensor(0.1))
        found[budget] = loss, torch.autograd.grad(loss, weights)
    torch.testing.assert_close(found[10], found[10_000], atol=1e-5, rtol=1e-4)


def test_a_loss_that_is_not_finite_ends_it(llama) -> None:
    with pytest.raises(FloatingPointError, match=r"the loss is nan at step 1; lower steps\.scft\.training\.lr"):
        tune(
            adapted(llama),
            pairs_of(),
            lambda a, b, t: (a * b).sum() * float("nan"),
            TrainedTemperature(Temperature()),
            Training(**QUICK),
        )


def test_progress_is_told(llama, caplog) -> None:
    with caplog.at_level(logging.INFO):
        tune(adapted(llama), pairs_of(), InfoNCE(), TrainedTemperature(Temperature()), Training(**QUICK))
    assert sum("loss" in line and "temperature" in line for line in caplog.messages) == 4


def test_one_text_alone_is_refused(llama) -> None:
    with pytest.raises(ValueError, match="contrasts different texts; got 1, wanted at least 2"):
        tune(adapted(llama), pairs_of(1), InfoNCE(), TrainedTemperature(Temperature()), Training())


def test_batches_hold_distinct_items_and_cover_all_in_an_epoch() -> None:
    drawn = list(batches(10, 4, 5, np.random.default_rng(0)))
    assert [len(batch) for batch in drawn] == [4] * 5
    for epoch in (drawn[0:2], drawn[2:4]):
        assert len(set(np.concatenate(epoch))) == 8
    assert [sorted(batch) for batch in batches(3, 64, 2, np.random.default_rng(0))] == [[0, 1, 2]] * 2


def test_the_rate_rises_then_falls_to_nothing() -> None:
    rate = rate_of(10, 0.2)
    assert [rate(step) for step in range(11)] == pytest.approx([1 / 3, 2 / 3, *(i / 8 for i in range(8, -1, -1))])
    assert rate_of(4, 0)(0) == 1


def test_steps_follow_epochs_or_are_given() -> None:
    assert Training(epochs=3, batch_size=4).steps(10) == 6
    assert Training(epochs=3, batch_size=64).steps(10) == 3
    assert Training(max_steps=7).steps(10) == 7
    assert Training(max_steps=0).steps(10) == 0


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"max_steps": -1}, {"batch_size": 1}, {"lr": 0.0}, {"warmup": 1.0}, {"held_out": -0.1}]
)
def test_impossible_settings_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match=r"steps\.scft\.training has"):
        Training(**wrong)
