import pytest
import torch

from sage_pl.semantic.scft.temperature import Temperature, TrainedTemperature


def test_it_starts_where_it_is_told_and_stays_between_its_bounds() -> None:
    temperature = TrainedTemperature(Temperature(start=0.5, low=0.1, high=2.0))
    assert temperature().item() == pytest.approx(0.5)
    for far, bound in ((-9.0, 0.1), (9.0, 2.0)):
        temperature.log.data.fill_(far)
        temperature.clamp()
        assert temperature().item() == pytest.approx(bound)


def test_a_rate_of_nothing_keeps_it_fixed() -> None:
    assert not TrainedTemperature(Temperature(lr=0)).log.requires_grad
    trained = TrainedTemperature(Temperature(start=0.5))
    (gradient,) = torch.autograd.grad(3 * trained(), trained.log)
    assert gradient.item() == pytest.approx(1.5)  # d exp(l) / dl


@pytest.mark.parametrize("wrong", [{"start": 0.001}, {"start": 20.0}, {"low": 0.0, "start": 0.1}, {"lr": -1.0}])
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(
        ValueError, match=r"steps\.scft\.temperature has .*, wanted 0 < low <= start <= high and lr >= 0"
    ):
        Temperature(**wrong)
