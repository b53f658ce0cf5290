import pytest

from sage_pl.artifacts.identity import decides


@pytest.mark.parametrize("key", ["data.batch_size", "optimizer.lr", "trainer.precision", "semantic.ratio", "ratio"])
def test_what_changes_results_decides(key: str) -> None:
    assert decides(key)


@pytest.mark.parametrize(
    "key", ["data.eval_batch_size", "optimizer.fused", "trainer.devices", "data.extras.neighbours.ratio"]
)
def test_where_and_how_fast_does_not_decide(key: str) -> None:
    assert not decides(key)
