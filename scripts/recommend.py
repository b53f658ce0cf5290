"""What a trained model recommends: ``python scripts/recommend.py checkpoint=FILE users=all k=100``."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from sage_pl.runs import launch

CONF = Path(__file__).parent.parent / "conf"


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="recommend")
@launch.one_line_errors
def job(config: DictConfig) -> None:
    from sage_pl import cli

    cli.recommend(config)


if __name__ == "__main__":
    launch.run(job, CONF, "recommend")
