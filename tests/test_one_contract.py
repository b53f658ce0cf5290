"""What ranks, serves, compares and reports knows the contract of recommenders, not the modules that keep it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = ROOT / "src" / "sage_pl" / "nn" / "modules"


@pytest.mark.parametrize("place", ["src", "scripts", "train.py"])
def test_no_module_is_named(place: str) -> None:
    files = [ROOT / place] if place.endswith(".py") else list((ROOT / place).rglob("*.py"))
    assert files
    for file in files:
        assert file.is_relative_to(MODULES) or not re.search(
            "SequentialRecommender|GenerativeRecommender", file.read_text()
        ), file
