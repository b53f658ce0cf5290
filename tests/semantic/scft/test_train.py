import copy
import logging
from datetime import timedelta

import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer

from sage_pl.nn.losses.contrastive import Decoupled, InfoNCE, SoftTargets
from sage_pl.semantic.language_models.loading import language_model, load_encoder
from sage_pl.semantic.scft import train
from sage_pl.semantic.scft.lora import Lora
from sage_pl.semantic.scft.temperature import Temperature, TrainedTemperature
from sage_pl.semantic.scft.train import Training, pooled, rate_of, tune
from sage_pl.semantic.scft.views import AttributeDropout, ViewBatches, ViewPairs
from sage_pl.semantic.trainers import make_trainer, trainer_settings
from tests.semantic.scft.tiny import COLUMNS, columns

QUICK = {"batch_size": 6, "lr": 0.01}


def steps(n: int = 4, folder=None, **settings) -> Trainer:
    every = timedelta(microseconds=1)
    chosen = {"max_epochs": -1, "max_steps": n, "accelerator": "cpu", **settings}
    return make_trainer(trainer_settings(**chosen), folder, train_time_interval=every)


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
    losses = tune(encoder, pairs_of(), InfoNCE(), temperature, Training(**QUICK), steps())
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
        Training(batch_size=20, lr=0.01),
        steps(30),
    )
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_one_seed_gives_one_result(llama) -> None:
    def once() -> tuple[list[float], torch.Tensor]:
        encoder = adapted(llama)
        torch.manual_seed(3)
        losses = tune(encoder, pairs_of(), InfoNCE(), TrainedTemperature(Temperature()), Training(**QUICK), steps())
        return losses, torch.cat([p.flatten() for p in encoder.parameters() if p.requires_grad])

    (losses, weights), (same, equal) = once(), once()
    assert losses == same
    assert torch.equal(weights, equal)


@pytest.mark.parametrize("epochs", [-1, 2])
@pytest.mark.parametrize("last", [2, 3, 4], ids="stopped in step {}".format)
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(llama, tmp_path, last, epochs) -> None:
    """An epoch has three steps."""

    def tuned(folder=None, last: int | None = None):
        encoder, temperature = adapted(llama), TrainedTemperature(Temperature())
        form = InfoNCE()
        calls = []

        def interrupted(*given):
            calls.append(1)
            if len(calls) == last:
                raise InterruptedError
            return form(*given)

        torch.manual_seed(1)
        trainer = steps(folder=folder, max_epochs=epochs)
        losses = tune(encoder, pairs_of(), interrupted, temperature, Training(**QUICK), trainer)
        weights = {n: p.detach() for n, p in encoder.named_parameters() if p.requires_grad}
        return losses, weights, temperature.log.item(), len(calls)

    whole = tuned()
    with pytest.raises(InterruptedError):
        tuned(tmp_path, last=last)
    stored = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert all("lora_" in name or name == "temperature.log" for name in stored["state_dict"])
    resumed = tuned(tmp_path)
    assert resumed[3] == 4 - (last - 1)
    assert resumed[0] == whole[0]
    assert resumed[2] == whole[2]
    assert all(torch.equal(resumed[1][name], weight) for name, weight in whole[1].items())


def test_accumulated_batches_are_one_step(llama) -> None:
    """Of five batches in an epoch, the last is a step of its own."""
    trainer = steps(3, accumulate_grad_batches=2)
    losses = tune(
        adapted(llama), pairs_of(), InfoNCE(), TrainedTemperature(Temperature()), Training(batch_size=4), trainer
    )
    assert trainer.global_step == 3
    assert len(losses) == 5


def test_checkpointing_changes_no_result(llama) -> None:
    results = []
    for saving in (False, True):
        settings = Training(**QUICK, gradient_checkpointing=saving)
        losses = tune(adapted(llama), pairs_of(), InfoNCE(), TrainedTemperature(Temperature()), settings, steps())
        results.append(losses)
    np.testing.assert_allclose(*results, atol=1e-4)


def test_bfloat16_is_near(llama) -> None:
    exact, rough = (
        tune(
            adapted(llama),
            pairs_of(),
            InfoNCE(),
            TrainedTemperature(Temperature()),
            Training(**QUICK),
            steps(precision=precision),
        )
        for precision in ("32-true", "bf16-mixed")
    )
    assert exact != rough
    assert rough[0] == pytest.approx(exact[0], rel=0.1)


@pytest.mark.parametrize("form", [Decoupled(), SoftTargets()], ids=lambda form: type(form).__name__)
def test_other_forms_train_too(llama, form) -> None:
    encoder, temperature = adapted(llama), TrainedTemperature(Temperature(start=3.0))
    assert np.isfinite(tune(encoder, pairs_of(), form, temperature, Training(**QUICK), steps())).all()
    assert any(p.any() for name, p in encoder.named_parameters() if "lora_B" in name)


def test_both_sides_of_a_pair_are_encoded_in_place(llama) -> None:
    encoder = load_encoder(llama, device="cpu").eval()
    views = [("name1 brand2", "name3"), ("name4", "name5 brand6 sort7")]
    first, second = pooled(encoder, views)
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
        loss = InfoNCE()(*pooled(encoder, views), torch.tensor(0.1))
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
            steps(),
        )


def test_progress_is_told(llama, caplog) -> None:
    with caplog.at_level(logging.INFO):
        tune(adapted(llama), pairs_of(), InfoNCE(), TrainedTemperature(Temperature()), Training(**QUICK), steps())
    assert sum("loss" in line and "temperature" in line for line in caplog.messages) == 4


def test_one_text_alone_is_refused(llama) -> None:
    with pytest.raises(ValueError, match="contrasts different texts; got 1, wanted at least 2"):
        tune(adapted(llama), pairs_of(1), InfoNCE(), TrainedTemperature(Temperature()), Training(), steps())


def test_batches_hold_distinct_items_and_cover_all_in_an_epoch() -> None:
    def drawn(n: int, size: int, epochs: int) -> list[list[str]]:
        batches = ViewBatches(ViewPairs([(str(i),) for i in range(n)], AttributeDropout()), size, seed=0)
        return [[first for first, _ in batch] for _ in range(epochs) for batch in batches]

    epochs = drawn(10, 4, 3)
    assert [len(batch) for batch in epochs] == [4] * 6
    for epoch in (epochs[0:2], epochs[2:4]):
        assert len(set(np.concatenate(epoch))) == 8
    assert epochs[0:2] != epochs[2:4]
    assert [sorted(batch) for batch in drawn(3, 64, 2)] == [["0", "1", "2"]] * 2


def test_the_rate_rises_then_falls_to_nothing() -> None:
    rate = rate_of(10, 0.2)
    assert [rate(step) for step in range(11)] == pytest.approx([1 / 3, 2 / 3, *(i / 8 for i in range(8, -1, -1))])
    assert rate_of(4, 0)(0) == 1


@pytest.mark.parametrize("wrong", [{"batch_size": 1}, {"lr": 0.0}, {"warmup": 1.0}, {"held_out": -0.1}])
def test_impossible_settings_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match=r"steps\.scft\.training has"):
        Training(**wrong)
