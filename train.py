"""Train and evaluate one recommender: ``python train.py [group=choice] [key=value]``; ``--help`` lists the choices."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from sage_pl.runs import launch

CONF = Path(__file__).parent / "conf"


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
@launch.one_line_errors
def job(config: DictConfig) -> None:
    if launch.in_own_process(config):
        return
    from sage_pl import cli  # torch and Lightning load here, so that --help answers at once

    cli.train(config)


if __name__ == "__main__":
    launch.run(job, CONF, "train")
