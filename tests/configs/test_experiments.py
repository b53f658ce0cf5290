"""Every ready sweep: its choices and keys compose, one by one, and bind."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override

from tests.configs.composing import CONF, composed, groups_of_a_run, resolved
from tests.planned import check_targets

pytestmark = pytest.mark.slow

EXPERIMENTS = [path for path in sorted((CONF / "experiment").glob("*.yaml")) if "params:" in path.read_text()]


def parameters(experiment: str) -> list[Override]:
    params = composed(f"experiment={experiment}").hydra.sweeper.params
    return OverridesParser.create().parse_overrides([f"{key}={value}" for key, value in params.items()])


def values(override: Override) -> list[str]:
    if isinstance(place := override.value(), IntervalSweep):
        return [str(place.start), str(place.end)]
    return list(override.sweep_string_iterator())


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_what_is_varied_composes_and_binds(path: Path) -> None:
    for override in parameters(path.stem):
        choices = override.key_or_group in groups_of_a_run() or override.package is not None
        for value in values(override)[0 if choices else -1 :]:  # one number of a key stands for all
            config = composed(f"experiment={path.stem}", f"{override.get_key_element()}={value}")
            assert config.hydra.mode.name == "MULTIRUN"
            check_targets(resolved(config, "model", "data"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_the_command_it_is_started_with_is_in_its_first_lines(path: Path) -> None:
    assert f"python train.py experiment={path.stem}" in path.read_text().split("hydra:")[0]


@pytest.mark.parametrize(
    ("experiment", "jobs"),
    [
        ("ablation", 30),
        ("llmesr_table", 54),
        ("weight_llmemb", 18),
        ("temperature_llmemb", 12),
        ("models_llmemb", 6),
        ("describers", 18),
        ("decoders", 15),
        ("weight_alpha", 18),
        ("weight_beta", 18),
        ("weight_gamma", 18),
        ("fuzzy_m", 18),
        ("backbones", 18),
    ],
)
def test_how_many_jobs_a_sweep_has(experiment: str, jobs: int) -> None:
    count = 1
    for override in parameters(experiment):
        count *= len(values(override))
    assert count == jobs


@pytest.mark.parametrize(
    ("part", "terms"),
    [
        ("nothing", {"distillation": 0.1, "alignment": 0.1, "prototype": 0.05}),
        ("sage/distillation", {"distillation": 0, "alignment": 0.1, "prototype": 0.05}),
        ("sage/alignment", {"distillation": 0.1, "alignment": 0, "prototype": 0.05}),
        ("sage/prototype", {"distillation": 0.1, "alignment": 0.1, "prototype": 0}),
        ("sage/terms", {"distillation": 0, "alignment": 0, "prototype": 0}),
    ],
)
def test_what_is_left_out_of_sage(part: str, terms: dict[str, float]) -> None:
    assert {name: term.weight for name, term in composed("method=sage", f"without={part}").loss.terms.items()} == terms
