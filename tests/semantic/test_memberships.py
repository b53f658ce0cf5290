import numpy as np
import pytest

from sage_pl.semantic.memberships import centres, entropies, memberships, prototypes

# Two centres on a line, 0 and 4. Items at 1 and 3 (members), 1 (noise): distances (1, 3), (3, 1), (1, 3).
POINTS = np.array([[1.0], [3.0], [1.0]])
CENTRES = np.array([[0.0], [4.0]])
LABELS = np.array([0, 1, -1])
STRENGTH = np.array([0.8, 1.0, 0.0])


def test_centres_are_weighted_and_leave_noise_out() -> None:
    points = np.array([[0.0, 0.0], [4.0, 2.0], [9.0, 9.0], [1.0, 1.0]])
    found = centres(points, np.array([0, 0, -1, 1]), np.array([1.0, 0.5, 0.0, 0.2]))
    np.testing.assert_allclose(found, [[4 / 3, 2 / 3], [1, 1]])


def test_a_cluster_without_weight_is_refused() -> None:
    with pytest.raises(ValueError, match=r"clusters \[1\] have no member of positive strength"):
        centres(POINTS, LABELS, np.array([1.0, 0.0, 1.0]))


def test_memberships_by_hand() -> None:
    found = memberships(POINTS, CENTRES, LABELS, STRENGTH)
    member = np.array([0.8 / 1, 0.2 / 3])
    noise = np.array([1.0, 1 / 9])
    np.testing.assert_allclose(found, [member / member.sum(), [0, 1], noise / noise.sum()])


@pytest.mark.parametrize("share", [True, False], ids=["shared", "reference"])
@pytest.mark.parametrize(
    ("fuzzy_m", "exponent"), [(2.0, 1.0), (1.8, 1.2), (3.0, 2.0)], ids=["default", "yelp", "other"]
)
def test_memberships_equal_the_formulas_written_as_loops(rng, share, fuzzy_m, exponent) -> None:
    points, middle = rng.normal(size=(12, 3)), rng.normal(size=(4, 3))
    labels = rng.integers(-1, 4, 12)
    strength = np.where(labels < 0, 0, rng.uniform(0.1, 1, 12))
    wanted = np.zeros((12, 4))
    for i in range(12):
        for k in range(4):
            close = max(float(np.linalg.norm(points[i] - middle[k])), 1e-8) ** -exponent
            rest = (1 - strength[i]) / (3 if share else 1)
            if labels[i] == -1:
                wanted[i, k] = close ** (2 / (fuzzy_m - 1))
            else:
                wanted[i, k] = close * (strength[i] if labels[i] == k else rest)
        wanted[i] /= wanted[i].sum()
    np.testing.assert_allclose(
        memberships(points, middle, labels, strength, fuzzy_m, exponent, share), wanted, atol=1e-12
    )


def test_the_reference_form_is_flatter_with_many_clusters(rng) -> None:
    middle = rng.normal(size=(50, 8))
    point, label, strength = middle[:1] * 0.9, np.array([0]), np.array([0.85])
    shared = memberships(point, middle, label, strength)[0, 0]
    reference = memberships(point, middle, label, strength, share_residual_mass=False)[0, 0]
    assert shared > 0.9 > reference


@pytest.mark.parametrize("label", [0, -1], ids=["member", "noise"])
def test_an_item_on_a_centre_belongs_to_it_without_overflow(label) -> None:
    found = memberships(CENTRES[:1], CENTRES, np.array([label]), np.array([0.9]), fuzzy_m=1.01)
    np.testing.assert_allclose(found, [[1, 0]], atol=1e-7)


@pytest.mark.parametrize(
    ("middle", "fuzzy_m", "message"),
    [
        pytest.param(CENTRES[:1], 2.0, "at least 2 clusters, got 1", id="one cluster"),
        pytest.param(CENTRES, 1.0, "fuzzy_m is 1.0, wanted more than 1", id="fuzzifier"),
    ],
)
def test_unfit_input_is_refused(middle, fuzzy_m, message) -> None:
    with pytest.raises(ValueError, match=message):
        memberships(POINTS, middle, np.zeros(3, int), STRENGTH, fuzzy_m)


U = np.array([[0, 0], [0.5, 0.5], [1.0, 0.0], [0.2, 0.8], [0, 0]])


def test_prototypes_by_hand() -> None:
    share = 0.8**2 / (0.2**2 + 0.8**2)
    np.testing.assert_allclose(prototypes(U, CENTRES, 2), [[0], [2], [0], [4 * share], [0]])


def test_prototypes_of_the_reference_are_not_divided() -> None:
    np.testing.assert_allclose(
        prototypes(U, CENTRES, 2, normalise=False), [[0], [0.25 * 4], [0], [0.64 * 4], [0]], atol=1e-12
    )


def test_the_reference_reads_the_next_items_row() -> None:
    right, shifted = prototypes(U, CENTRES, 2), prototypes(U, CENTRES, 2, index_offset=1)
    np.testing.assert_array_equal(shifted[1:3], right[2:4])
    assert not shifted[[0, 3, 4]].any()


def test_memberships_are_left_as_they_are() -> None:
    before = U.copy()
    prototypes(U, CENTRES, 2, index_offset=1)
    np.testing.assert_array_equal(U, before)


def test_an_unknown_offset_is_refused() -> None:
    with pytest.raises(ValueError, match="index_offset is 2, wanted 0"):
        prototypes(U, CENTRES, 2, index_offset=2)


def test_entropies_by_hand() -> None:
    shares = np.array([[1.0, 0, 0, 0], [0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0, 0]])
    np.testing.assert_allclose(entropies(shares), [0, np.log(4), np.log(2)])
