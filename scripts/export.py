"""Write a checkpoint as a folder to serve from: ``python scripts/export.py checkpoint=FILE folder=DIR``."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from sage_pl.runs import launch

CONF = Path(__file__).parent.parent / "conf"


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="export")
@launch.one_line_errors
def job(config: DictConfig) -> None:
    from sage_pl import cli

    cli.export(config)


if __name__ == "__main__":
    launch.run(job, CONF, "export")
