"""Prepare a data set's artifacts alone: ``python scripts/prepare.py dataset=beauty``."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from sage_pl.runs import launch

CONF = Path(__file__).parent.parent / "conf"


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="prepare")
@launch.one_line_errors
def job(config: DictConfig) -> None:
    from sage_pl import cli

    cli.prepare_only(config)


if __name__ == "__main__":
    launch.run(job, CONF, "prepare")
