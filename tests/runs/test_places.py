"""A stored configuration writes into the run's folder alone."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from sage_pl.runs.places import foreign_places

CSV = {"_target_": "pytorch_lightning.loggers.CSVLogger", "save_dir": "${run_dir}", "name": "", "version": ""}


def lines(own: dict[str, Any] | None = None, **parts: Any) -> list[str]:
    base = {"run_dir": "/runs/a", "resume": "/b/last.ckpt", "artifacts": {}, "catalog": {}, "steps": {}}
    return foreign_places(OmegaConf.create({**base, **parts}), own)


@pytest.mark.parametrize(
    ("section", "key", "text"),
    [
        ("callbacks", "dirpath", "/elsewhere"),
        ("callbacks", "dirpath", "elsewhere"),
        ("callbacks", "dirpath", "${run_dir}/../b"),
        ("callbacks", "dirpath", "${run_dir}b"),
        ("callbacks", "filename", "../../x"),
        ("callbacks", "storage", "sqlite:////x.db"),
        ("logger", "save_dir", "s3://bucket"),
        ("logger", "version", "a/../../b"),
        ("trainer", "default_root_dir", "/elsewhere"),
        ("steps", "save_dir", "/elsewhere"),
    ],
)
def test_a_place_outside_is_refused_unless_the_user_names_it(section: str, key: str, text: str) -> None:
    node = {"part": {key: text}}
    assert len(lines(**{section: node})) == 1
    plain = text.replace("${run_dir}", "/runs/a")
    assert not lines({section: {"part": {key: plain}}}, **{section: node})


def test_places_of_the_run_and_files_that_are_read_are_fine() -> None:
    assert not lines(
        callbacks={
            "last": {"dirpath": "${run_dir}/checkpoints", "filename": "best", "monitor": "val/x", "r": "${resume}"}
        },
        logger={"csv": CSV},
        steps={"embed": {"path": "/data/vectors.npy"}},
    )


@pytest.mark.parametrize("name", ["WandbLogger", "MLFlowLogger", "CometLogger"])
def test_a_logger_that_sends_is_refused_unless_the_user_chose_it(name: str) -> None:
    node = {"other": {"_target_": f"pytorch_lightning.loggers.{name}"}}
    assert "may send what it logs" in lines(logger=node)[0]
    assert not lines({"logger": node}, logger=node)
