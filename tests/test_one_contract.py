"""What ranks, serves, compares and reports knows the contract of recommenders, not the modules that keep it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PLACES = ("evaluation", "serving", "recommending.py", "comparing.py", "report")


@pytest.mark.parametrize("place", [*(f"src/sage_pl/{place}" for place in PLACES), "scripts"])
def test_no_module_is_named(place: str) -> None:
    files = [ROOT / place] if place.endswith(".py") else list((ROOT / place).rglob("*.py"))
    assert files
    for file in files:
        assert not re.search("SequentialRecommender|GenerativeRecommender", file.read_text()), file
