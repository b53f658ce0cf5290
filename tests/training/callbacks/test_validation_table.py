from types import SimpleNamespace
from typing import Any

import pytest

from sage_pl.training.callbacks.validation_table import ValidationTable

FIGURE = "val/full/ndcg@10"


def validate(callback: ValidationTable, epoch: int, value: float, **more: bool) -> None:
    metrics = {
        FIGURE: value,
        f"{FIGURE}/item_tail": value / 2,
        "val/full/hr@10": 0.5,
        "val/full/count": 60.0,
        "train/loss": 1.0,
    }
    known: dict[str, Any] = {"sanity_checking": False, "is_global_zero": True, **more}
    trainer: Any = SimpleNamespace(current_epoch=epoch, callbacks=[], callback_metrics=metrics, **known)
    module: Any = None
    callback.on_validation_end(trainer, module)


@pytest.fixture
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.mark.usefixtures("_terminal")
def test_only_the_best_so_far_is_printed_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    callback = ValidationTable(FIGURE)
    validate(callback, 0, 0.2)
    assert capsys.readouterr().out == "best so far, full/ndcg@10 in %: 20.00, item_tail 10.00\n"
    validate(callback, 1, 0.1)
    validate(callback, 2, 0.2)
    assert capsys.readouterr().out == ""
    validate(callback, 3, 0.3)
    assert capsys.readouterr().out == "best so far, full/ndcg@10 in %: 30.00, item_tail 15.00\n"


@pytest.mark.usefixtures("_terminal")
@pytest.mark.parametrize("state", [{"sanity_checking": True}, {"is_global_zero": False}], ids=str)
def test_one_process_prints_and_no_sanity_check(state: dict[str, bool], capsys: pytest.CaptureFixture[str]) -> None:
    validate(ValidationTable(FIGURE), 0, 0.2, **state)
    assert capsys.readouterr().out == ""


def test_nothing_is_printed_where_the_output_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    validate(ValidationTable(FIGURE), 0, 0.2)
    assert capsys.readouterr().out == ""
