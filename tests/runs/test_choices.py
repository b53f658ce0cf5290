"""The choices of a command: written plainly, and a part belongs to the method that it is left out of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from sage_pl.runs.choices import check_without, parts_of, plain_choices

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("method", "without"),
    [("sage", "sage/prototype"), ("plain", "nothing"), ("sage", None), (None, "nothing"), ("mine", "variant")],
)
def test_a_part_of_the_method_nothing_and_a_choice_outside_all_methods_fit(
    method: str | None, without: str | None
) -> None:
    assert check_without({"method": method, "without": without}, ["prototype"]) is None


@pytest.mark.parametrize(
    ("method", "without", "parts", "ending"),
    [
        ("plain", "sage/prototype", [], "prototype is a part of method=sage; method=plain has: nothing"),
        ("llm_esr", "pad/mmd", ["freeze", "text_start"], "method=llm_esr has: llm_esr/freeze, llm_esr/text_start"),
        (None, "pad/mmd", [], "method=None has: nothing"),
    ],
)
def test_a_part_of_another_method_is_one_error_with_the_parts_there_are(
    method: str | None, without: str, parts: list[str], ending: str
) -> None:
    problem = check_without({"method": method, "without": without}, parts)
    assert problem is not None
    assert problem.startswith(f"method={method} without={without}: ")
    assert problem.endswith(ending)


def test_choices_become_plain_values_without_those_of_hydra() -> None:
    config = OmegaConf.create({"of": {"method": "pad", "debug": None, "hydra/launcher": "basic"}, "choices": "${of}"})
    assert plain_choices(config) == {"method": "pad", "debug": None}


def test_the_parts_of_a_method_are_the_files_of_its_folder() -> None:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        compose("train")
        assert parts_of("llmemb") == ["adapter", "freeze", "scft", "teacher"]
        assert parts_of("plain") == []


@pytest.mark.parametrize(("method", "without"), [("plain", "sage/prototype"), ("sage", "llmemb/scft")])
def test_the_command_ends_before_anything_is_prepared(tmp_path: Path, method: str, without: str) -> None:
    options = [f"method={method}", f"without={without}", f"paths.outputs={tmp_path}"]
    command = [sys.executable, str(ROOT / "train.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert f"method={method} without={without}: " in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "artifacts").exists()


def test_an_old_name_of_a_part_ends_with_the_new_one() -> None:
    command = [sys.executable, str(ROOT / "train.py"), "without=prototype"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "without=sage/prototype" in done.stderr
