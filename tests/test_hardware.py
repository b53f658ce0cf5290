import pytest

from sage_pl.hardware import chosen_device


@pytest.mark.parametrize(
    ("asked", "there", "taken"), [("cpu", True, "cpu"), (None, True, "cuda"), (None, False, "cpu")]
)
def test_what_is_asked_for_comes_first(monkeypatch, asked, there, taken) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: there)
    assert chosen_device(asked) == taken
