"""A bounded part of the campaign; ``python -m tests.campaign`` runs all of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.campaign.__main__ import families, run
from tests.campaign.bench import Bench


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    bench = Bench(seed=1)
    yield bench
    bench.close()


@pytest.mark.slow
@pytest.mark.parametrize("family", families())
def test_a_sample_of_the_family_holds(bench: Bench, family: str) -> None:
    bad = [(name, verdict) for name, verdict in run(bench, family, limit=12) if verdict != "held"]
    assert not bad
