"""Write report.html: ``python scripts/report.py run=FOLDER`` or ``python scripts/report.py comparison=FOLDER``."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from sage_pl.runs import launch

CONF = Path(__file__).parent.parent / "conf"


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="report")
@launch.one_line_errors
def job(config: DictConfig) -> None:
    from sage_pl.report import story

    story.report(config)


if __name__ == "__main__":
    launch.run(job, CONF, "report")
