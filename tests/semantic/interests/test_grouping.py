"""How many interests a user has and which items belong to which; SAM's random capsules as the counter-example."""

from pathlib import Path

import numpy as np
import pytest

from sage_pl.artifacts.store import Artifact
from sage_pl.data.sequences import Sequences
from sage_pl.semantic.interests.grouping import Grouping, LeakError, grouped_users, ranked, refuse_leaks

TOPICS, DIM, PER_TOPIC = 12, 24, 6


def catalogue(seed: int = 0) -> np.ndarray:
    """Items in topics around one common direction, as the vectors of untuned encoders are: pairwise cosine about 0.8."""
    random = np.random.default_rng(seed)
    topics = random.normal(size=(TOPICS, DIM))
    items = np.repeat(topics, PER_TOPIC, axis=0) + 0.35 * random.normal(size=(TOPICS * PER_TOPIC, DIM))
    rows = items + 9 * np.eye(DIM)[0]
    return np.pad(rows / np.linalg.norm(rows, axis=1, keepdims=True), ((1, 1), (0, 0)))


def planted(n_users: int = 150, seed: int = 1) -> tuple[list[list[int]], np.ndarray]:
    """Users whose history holds 4 items of each of 1 to 3 topics, in random order, and the numbers of topics."""
    random = np.random.default_rng(seed)
    users, counts = [], 1 + np.arange(n_users) % 3
    for count in counts:
        chosen = random.choice(TOPICS, count, replace=False)
        own = [topic * PER_TOPIC + 1 + i for topic in chosen for i in random.choice(PER_TOPIC, 4, replace=False)]
        users.append(random.permutation(own).tolist())
    return users, counts


def capsules(items: np.ndarray, seed: int, most: int = 10) -> int:
    """The number of interests SAM's code chooses: dynamic routing with random, untrained weights and logits."""
    random = np.random.default_rng(seed)
    votes, logits = items @ (random.normal(size=(DIM, DIM)) / DIM**0.5), random.normal(size=(most, len(items)))
    for _ in range(3):
        shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        sums = shares @ votes
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        capsule = norms**2 / (1 + norms**2) * sums / norms
        logits = logits + capsule @ votes.T
    centres = shares @ items
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    order = np.argsort(-np.linalg.norm(capsule, axis=1))
    scores = []
    for k in range(2, most + 1):
        own = order[:k]
        consistency = (shares[own] * (centres[own] @ items.T)).sum() / (k * len(items))
        diversity = 1 - (centres[own] @ centres[own].T)[np.triu_indices(k, 1)].mean()
        scores.append(0.6 * consistency + 0.4 * diversity)
    return 2 + int(np.argmax(scores))


def run(make_sequences, make_artifact, out: Path, users, table, **settings) -> list[list[list[int]]]:
    """The groups of users whose last two items are held out, as are two more that are put behind them here."""
    sequences = make_sequences([[*user, 1, 2] for user in users], n_items=len(table) - 2)
    Grouping(**settings).run({"sequences": sequences, "embed": make_artifact("embed", table=table)}, out)
    (out / "manifest.json").write_text('{"key": "groups"}')
    return grouped_users(Artifact.at(out))[1:]


def test_planted_interests_are_found_where_random_capsules_find_noise(make_sequences, make_artifact, out) -> None:
    table, (users, counts) = catalogue(), planted()
    cosines = table[1:-1] @ table[1:-1].T
    assert 0.6 < cosines[np.triu_indices(len(cosines), 1)].mean() < 0.9
    found = run(make_sequences, make_artifact, out, users, table, held_back=0)
    assert np.mean([len(groups) for groups in found] == counts) > 0.95
    pure = [len({(item - 1) // PER_TOPIC for item in group}) == 1 for groups in found for group in groups]
    assert np.mean(pure) > 0.95

    one, other = (np.array([capsules(table[user], seed) for user in users]) for seed in (0, 1))
    assert np.mean(one == counts) < 0.5
    assert np.mean(one == other) < 0.6  # another seed, another number
    assert abs(np.corrcoef(one, counts)[0, 1]) < 0.5


def test_two_runs_agree_to_the_bit(make_sequences, make_artifact, out, tmp_path) -> None:
    users, table = planted(40)[0], catalogue()
    sequences, embed = make_sequences(users, n_items=len(table) - 2), make_artifact("embed", table=table)
    folders = [out, tmp_path / "again"]
    folders[1].mkdir()
    for folder in folders:
        Grouping().run({"sequences": sequences, "embed": embed}, folder)
    for name in ("items", "labels", "offsets"):
        first, second = ((folder / f"{name}.npy").read_bytes() for folder in folders)
        assert first == second


def test_what_is_grouped_by_hand(make_sequences) -> None:
    """Distinct items of the training part without its last, the most recent ones, oldest first."""
    sequences = Sequences.load(make_sequences([[5, 3, 5, 4, 1, 2, 9, 9], [7, 8, 6], [4]]))
    found = [row.tolist() for row in Grouping(max_items=3).histories(sequences)]
    assert found == [[], [5, 4, 1], [], []]
    assert Grouping(held_back=0).histories(sequences)[2].tolist() == [7]


def test_text_of_held_out_events_plays_no_part(make_sequences, make_artifact, out, tmp_path) -> None:
    table, users = catalogue(), planted(30)[0]
    items = {item for user in users for item in user}
    unseen = sorted(set(range(1, len(table) - 1)) - items)
    assert len(unseen) >= 2
    changed = table.copy()
    changed[unseen] = -changed[unseen]
    sequences = make_sequences([[*user, unseen[0], unseen[1]] for user in users], n_items=len(table) - 2)
    labels = []
    for name, vectors in (("one", table), ("other", changed)):
        (tmp_path / name).mkdir()
        Grouping().run({"sequences": sequences, "embed": make_artifact(name, table=vectors)}, tmp_path / name)
        labels.append(np.load(tmp_path / name / "labels.npy"))
    np.testing.assert_array_equal(*labels)


def test_groups_are_ordered_by_recency_and_size() -> None:
    """Ages 1..5: the group of the points 0, 1, 2 weighs 6, that of 3 weighs 4, that of 4 weighs 5."""
    assert ranked(np.array([[0, 0, 0, 3, 4]])).tolist() == [[0, 0, 0, 2, 1]]
    assert ranked(np.array([[0, 0, 2], [0, 1, 1]])).tolist() == [
        [1, 1, 0],
        [1, 0, 0],
    ]  # 3 and 3: the newest point decides


def test_short_and_uniform_histories_are_one_interest() -> None:
    far = np.eye(4)[None, :2]
    assert Grouping().group(far).tolist() == [[0, 0]]  # two items, however different
    equal = np.repeat(np.eye(4)[None, :1], 9, axis=1)
    assert not Grouping().group(equal).any()


@pytest.mark.parametrize(("n", "most"), [(3, 2), (7, 3), (15, 4), (20, 5)])
def test_the_number_of_interests_grows_with_the_logarithm_of_the_history(n: int, most: int) -> None:
    for planted_groups in (most, most + 1):
        points = np.eye(n)[None, np.arange(n) % planted_groups]
        assert len(np.unique(Grouping().group(points))) <= most
        assert len(np.unique(Grouping(max_interests=2).group(points))) <= 2
    assert len(np.unique(Grouping().group(np.eye(n)[None, np.arange(n) % most]))) == most


def test_near_twins_are_one_interest() -> None:
    """Two pairs of equal items, 0.13 apart: the silhouette of two groups is 1."""
    pairs = np.array([[1, 0], [1, 0], [0.87, 0.493], [0.87, 0.493]])[None]
    assert Grouping().group(pairs).tolist() == [[0, 0, 0, 0]]
    assert Grouping(min_distance=0.1).group(pairs).tolist() == [[1, 1, 0, 0]]


@pytest.mark.parametrize("fixed", [1, 4, 9])
def test_a_fixed_number(fixed: int) -> None:
    points = np.random.default_rng(0).normal(size=(5, 6, 4))
    assert all(len(np.unique(row)) == min(fixed, 6) for row in Grouping(fixed=fixed).group(points))


def test_a_planted_leak_is_refused(make_sequences) -> None:
    sequences = Sequences.load(make_sequences([[1, 2, 3, 4, 5], [3, 1, 2]]))
    refuse_leaks([[], [[1, 3], [2]], [[3]]], sequences)
    with pytest.raises(LeakError, match="user 1 would be built from item 4, which is not in the user's training part"):
        refuse_leaks([[], [[1, 4], [2]], []], sequences)
    with pytest.raises(LeakError, match="user 2 would be built from item 2"):
        refuse_leaks([[], [], [[2], [3]]], sequences)


@pytest.mark.parametrize("wrong", [{"max_interests": 0}, {"max_items": 0}, {"fixed": 0}, {"held_back": 2}])
def test_impossible_settings_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match=r"steps\.groups has"):
        Grouping(**wrong)
