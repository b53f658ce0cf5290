import polars as pl
import pytest
from pytorch_lightning.callbacks import LearningRateMonitor
from pytorch_lightning.loggers import CSVLogger

from sage_pl.artifacts.identity import identity
from sage_pl.semantic.trainers import finish, make_trainer, planned_steps, trainer_settings


@pytest.mark.parametrize(
    "change",
    [
        {"max_epochs": 2},
        {"max_steps": 5},
        {"precision": "bf16-mixed"},
        {"accumulate_grad_batches": 2},
        {"gradient_clip_val": 1.0},
    ],
    ids=str,
)
def test_settings_that_change_a_result_change_its_identity(change) -> None:
    assert identity(trainer_settings(**change)) != identity(trainer_settings())


@pytest.mark.parametrize(
    "change",
    [
        {"accelerator": "gpu"},
        {"devices": [1]},
        {"enable_progress_bar": False},
        {"logger": [CSVLogger("logs")]},
        {"log_every_n_steps": 1},
        {"default_root_dir": "elsewhere"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_settings_of_where_and_how_it_is_shown_do_not(change) -> None:
    assert identity(trainer_settings(**change)) == identity(trainer_settings())


def test_callbacks_cannot_hide_from_the_identity() -> None:
    with pytest.raises(TypeError, match="cannot hash a LearningRateMonitor into an artifact key"):
        identity(trainer_settings(callbacks=[LearningRateMonitor()]))


def test_steps_follow_epochs_or_are_given() -> None:
    def planned(n_batches: int, **settings) -> int:
        return planned_steps(make_trainer(trainer_settings(accelerator="cpu", **settings), None), n_batches)

    assert planned(2, max_epochs=3) == 6
    assert planned(3, max_epochs=3, accumulate_grad_batches=2) == 6
    assert planned(2, max_epochs=3, max_steps=4) == 4
    assert planned(2, max_epochs=-1, max_steps=7) == 7
    assert planned(2, max_steps=0) == 0
    with pytest.raises(ValueError, match="max_epochs=-1 and max_steps=-1; limit one of them"):
        planned(2, max_epochs=-1)


def test_loggers_and_callbacks_of_the_settings_are_added(tmp_path) -> None:
    monitor, logger = LearningRateMonitor(), CSVLogger(tmp_path / "mine")
    trainer = make_trainer(trainer_settings(accelerator="cpu", logger=logger, callbacks=[monitor]), tmp_path / "folder")
    assert trainer.loggers[0] is logger
    assert len(trainer.loggers) == 2
    assert monitor in trainer.callbacks
    assert not (tmp_path / "folder").exists()


def test_a_second_device_is_refused() -> None:
    with pytest.raises(ValueError, match="has 2 devices, wanted one; set its devices=1"):
        make_trainer(trainer_settings(accelerator="cpu", devices=2), None)


def test_the_metrics_of_a_repeated_step_are_the_later_ones(tmp_path) -> None:
    for part, rows in enumerate([{"step": [0, 1, 2], "loss": [3.0, 2.0, 1.0]}, {"step": [2, 3], "loss": [1.5, 0.5]}]):
        folder = tmp_path / "folder" / f"part{part:03d}"
        folder.mkdir(parents=True)
        pl.DataFrame(rows).write_csv(folder / "metrics.csv")
    finish(tmp_path / "folder", tmp_path)
    assert not (tmp_path / "folder").exists()
    joined = pl.read_csv(tmp_path / "metrics.csv")
    assert joined.to_dict(as_series=False) == {"step": [0, 1, 2, 3], "loss": [3.0, 2.0, 1.5, 0.5]}
