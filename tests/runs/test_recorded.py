"""What the environment gives is recorded by its name."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from sage_pl.runs.recorded import Masked, hidden, recorded, save

CONFIG = {
    "name": "${oc.env:WHO}",
    "seed": 3,
    "again": "${name}",
    "parts": [{"text": "a ${name} b", "n": "${seed}"}, "${oc.decode:${oc.env:WHO}}", "${oc.env:WHO,${seed}}"],
    "missing": "???",
    "table": {"jane-doe": 1},
    "chosen": "${table.${name}}",
}


@pytest.fixture(autouse=True)
def who(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHO", "jane-doe")


def test_calls_stay_and_references_are_resolved() -> None:
    assert recorded(OmegaConf.create(CONFIG)) == {
        "name": "${oc.env:WHO}",
        "seed": 3,
        "again": "${oc.env:WHO}",
        "parts": [{"text": "a ${oc.env:WHO} b", "n": 3}, "${oc.decode:${oc.env:WHO}}", "${oc.env:WHO,${seed}}"],
        "missing": "???",
        "table": {"jane-doe": 1},
        "chosen": "${table.${name}}",
    }


def test_nothing_changes_where_the_environment_is_not_read(tmp_path: Path) -> None:
    config = OmegaConf.create({"a": 1, "b": ["${a}", None], "c": "\\${x}"})
    assert recorded(config) == {"a": 1, "b": [1, None], "c": "${x}"}
    assert hidden(config) == {}
    save(config, tmp_path / "a.yaml")
    OmegaConf.save(config, tmp_path / "b.yaml", resolve=True)
    assert (tmp_path / "a.yaml").read_bytes() == (tmp_path / "b.yaml").read_bytes()


def test_the_file_holds_no_value_of_the_environment(tmp_path: Path) -> None:
    save(OmegaConf.create({**CONFIG, "table": {}, "chosen": 1}), tmp_path / "config.yaml")
    assert "jane-doe" not in (tmp_path / "config.yaml").read_text()


def test_log_lines_hold_the_name() -> None:
    texts = hidden(OmegaConf.create(CONFIG))
    assert texts["jane-doe"].startswith("${")
    record = logging.LogRecord("x", logging.INFO, "", 0, "%s: %d users", ("jane-doe", 3), None)
    assert Masked(texts).filter(record)
    assert record.getMessage() == f"{texts['jane-doe']}: 3 users"
