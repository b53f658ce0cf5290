import numpy as np
import pytest

from sage_pl.semantic.tokenizer.kmeans import ResidualKMeans
from sage_pl.semantic.tokenizer.residual import decoded, residual_codes
from sage_pl.semantic.tokenizer.views import Views


def views(source, target=None) -> Views:
    return Views(np.asarray(source), None if target is None else np.asarray(target), np.ones(len(source)))


def test_two_levels_by_hand() -> None:
    """Left and right first, then below and above of what is left over."""
    corners = [[-10, 0], [-10, 2], [10, 0], [10, 2]]
    latent, books = ResidualKMeans(levels=2, codes=2).fit(views(corners), seed=0)
    assert latent.tolist() == corners
    assert sorted(books[0].tolist()) == [[-10, 1], [10, 1]]
    assert sorted(books[1].tolist()) == [[0, -1], [0, 1]]
    codes, _ = residual_codes(latent, books)
    np.testing.assert_allclose(decoded(codes, books), corners)
    assert codes[0, 0] == codes[1, 0] != codes[2, 0] == codes[3, 0]


@pytest.mark.parametrize(
    ("pull", "together"), [(0.0, [[0, 1], [2, 3]]), (0.5, [[0, 1], [2, 3]]), (2.0, [[0, 2], [1, 3]])]
)
def test_the_pull_decides_which_view_the_codes_follow(pull, together) -> None:
    """The source groups items 0 and 1, the target 0 and 2."""
    source, target = [[-1.0], [-1], [1], [1]], [[-1.0], [1], [-1], [1]]
    latent, books = ResidualKMeans(levels=1, codes=2, pull=pull).fit(views(source, target), seed=0)
    codes, _ = residual_codes(latent, books)
    assert all(codes[a] == codes[b] for a, b in together)
    assert len(set(codes[:, 0])) == 2
    assert latent.shape[1] == (2 if pull else 1)
    if pull:
        np.testing.assert_allclose(latent[:, 1], np.sqrt(pull) * np.array(target)[:, 0], rtol=1e-6)


def test_two_runs_agree_to_the_bit_and_another_seed_does_not(rng) -> None:
    given = views(rng.normal(size=(300, 6)))
    first, second, other = (ResidualKMeans(codes=16).fit(given, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.codebooks, second.codebooks)
    assert first.codebooks.shape == (3, 16, 6)
    assert first.codebooks.dtype == np.float32
    assert (first.codebooks != other.codebooks).any()


def test_too_few_items_are_refused() -> None:
    with pytest.raises(ValueError, match=r"3 items are too few for 4 codes; set steps\.tokens\.quantiser\.codes lower"):
        ResidualKMeans(codes=4).fit(views(np.eye(3)), seed=0)


@pytest.mark.parametrize("setting", [{"levels": 0}, {"codes": 0}, {"iterations": 0}, {"pull": -1.0}], ids=str)
def test_settings_out_of_range_are_refused(setting) -> None:
    with pytest.raises(ValueError, match="wants at least one level"):
        ResidualKMeans(**setting)
