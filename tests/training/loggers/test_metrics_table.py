"""The table of epochs: it goes on where a run continues, and no epoch is in it twice."""

from __future__ import annotations

from pathlib import Path

from sage_pl.training.loggers.metrics_table import MetricsTable, read_rows


def logged(folder: Path, *epochs: int, tested: bool = False) -> list[tuple[str, str]]:
    """Epochs and losses in the table after a part of a run; its last row is a test where ``tested``."""
    logger = MetricsTable(folder, name="", version="")
    for epoch in epochs:
        logger.log_metrics({"epoch": epoch, "val": 1.0}, epoch)
        logger.log_metrics({"epoch": epoch, "loss": 0.5 + epoch}, epoch)
        logger.save()
    if tested:
        logger.log_metrics({"epoch": epochs[-1] + 1, "test": 1.0}, 9)
        logger.save()
    return [
        (row["epoch"], row.get("loss", "")) for row in read_rows(folder / "metrics.csv") if row.get("loss") or tested
    ]


def test_earlier_epochs_are_kept_and_repeated_ones_replaced(tmp_path: Path) -> None:
    logged(tmp_path, 0, 1, 2)
    assert logged(tmp_path, 2, 3) == [("0", "0.5"), ("1", "1.5"), ("2", "2.5"), ("3", "3.5")]


def test_a_run_that_is_tested_again_has_one_test(tmp_path: Path) -> None:
    rows = logged(tmp_path, 0, tested=True)
    logger = MetricsTable(tmp_path, name="", version="")
    logger.log_metrics({"epoch": 1, "test": 1.0}, 9)
    logger.save()
    assert len(read_rows(tmp_path / "metrics.csv")) == len(rows) == 3


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    logged(tmp_path, 0, 1)
    file = tmp_path / "metrics.csv"
    file.write_bytes(file.read_bytes()[:-3])
    assert logged(tmp_path, 1, 2)[-2:] == [("1", "1.5"), ("2", "2.5")]
