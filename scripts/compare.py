"""Compare finished runs: ``python scripts/compare.py runs='outputs/**' by=method baseline=plain``."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from sage_pl import launch

CONF = Path(__file__).parent.parent / "conf"


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="compare")
@launch.one_line_errors
def job(config: DictConfig) -> None:
    from sage_pl import comparing

    comparing.compare(config)


if __name__ == "__main__":
    launch.run(job, CONF, "compare")
