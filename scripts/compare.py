"""Compare finished runs: ``python scripts/compare.py runs='outputs/**' by=method baseline=plain``."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from sage_pl.runs import launch

CONF = Path(__file__).parent.parent / "conf"


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="compare")
@launch.one_line_errors
def job(config: DictConfig) -> None:
    from sage_pl.comparison import compare as comparing
    from sage_pl.report import story

    page = None if config.report is None else story.at_the_end("comparison", config.report)

    if config.wandb:
        from sage_pl.training.loggers import wandb_run

        wandb_run.check()
    comparing.compare(config)
    if page is not None:
        page(Path(config.folder))
    if config.wandb:
        wandb_run.log_comparison(Path(config.folder), config.wandb, config.group)


if __name__ == "__main__":
    launch.run(job, CONF, "compare")
