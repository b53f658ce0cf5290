import numpy as np
import pytest

from sage_pl.semantic.interests.keywords import Keywords, _heaviest, _without_parts, most_relevant

TEXTS = [
    "",
    "green tea leaf 20 ct",
    "black tea leaf 16 oz",
    "herbal tea with mint",
    "bike chain oil",
    "bike chain tool",
    "bike tyre",
    "",
]


def test_the_weight_of_a_term_by_hand() -> None:
    """Two classes: counts 2 1 0 and 0 1 3; A = 7 / 2 classes; f = 2, 2, 3."""
    from scipy.sparse import csr_array

    counts = np.array([[2.0, 1, 0], [0, 1, 3]])
    idf = np.log1p(3.5 / np.array([2.0, 2, 3]))
    found = _heaviest(csr_array(counts), idf, 2)
    assert found.tolist() == [[0, 1], [2, 1]]
    assert _heaviest(csr_array(counts), idf, 5).tolist() == [[0, 1, -1, -1, -1], [2, 1, -1, -1, -1]]
    rare = np.array([0.1, 5.0, 0.1])  # 1/3 * 5 is more than 2/3 * 0.1
    assert _heaviest(csr_array(counts), rare, 1).tolist() == [[1], [1]]


def test_idf_comes_from_the_catalogue_with_one_class_per_item() -> None:
    describer = Keywords(min_count=1)
    counts, terms = describer._count(TEXTS)
    assert {"tea", "tea leaf", "bike", "bike chain", "mint"} <= set(terms)
    assert not {"20", "oz", "ct", "with"} & set(terms)  # numbers, units, stop words
    assert counts.shape[0] == len(TEXTS)


def naive_choice(words: np.ndarray, real: np.ndarray, group: np.ndarray, n: int, diversity: float) -> list[int]:
    chosen: list[int] = []
    while len(chosen) < n:
        best, found = -np.inf, -1
        for i in np.flatnonzero(real):
            if i in chosen:
                continue
            redundant = max((words[i] @ words[j] for j in chosen), default=0.0)
            score = (1 - diversity) * words[i] @ group - diversity * redundant
            if score > best:
                best, found = score, int(i)
        chosen.append(found)
        if found == -1:
            return chosen + [-1] * (n - len(chosen))
    return chosen


@pytest.mark.parametrize("diversity", [0.0, 0.5, 0.9])
def test_the_choice_is_that_of_a_plain_loop(rng, diversity: float) -> None:
    words = rng.normal(size=(30, 8, 4))
    words /= np.linalg.norm(words, axis=2, keepdims=True)
    groups = rng.normal(size=(30, 4))
    groups /= np.linalg.norm(groups, axis=1, keepdims=True)
    real = np.arange(8) < rng.integers(0, 9, 30)[:, None]
    found = most_relevant(words, real, groups, 5, diversity)
    for row in range(30):
        assert found[row].tolist() == naive_choice(words[row], real[row], groups[row], 5, diversity)


def test_relevance_and_diversity_by_hand() -> None:
    """The group is (1, 0); a twin of the first choice loses against a word of another direction once diversity counts."""
    words = np.array([[[1, 0], [0.98, 0.199], [0.6, 0.8]]])
    given = (words, np.ones((1, 3), bool), np.array([[1.0, 0]]), 2)
    assert most_relevant(*given, 0.0).tolist() == [[0, 1]]
    assert most_relevant(*given, 0.6).tolist() == [[0, 2]]


def test_words_of_a_kept_pair_are_dropped() -> None:
    assert _without_parts(["tea", "tea leaf", "mint", "leaf"]) == ["tea leaf", "mint"]


def test_phrases_name_what_a_groups_items_share() -> None:
    tea, bike = Keywords(count=3).phrases(TEXTS, [[1, 2, 3], [4, 5, 6]])
    assert "tea" in tea.split(":")[0]
    assert "bike" in bike.split(":")[0]
    assert "bike" not in tea
    assert tea.split(": ")[1] in TEXTS


def test_equal_groups_are_equal_and_nothing_depends_on_the_other_users() -> None:
    users = [[[1, 2], [4]], [[4], [1, 2]], [[6, 5]]]
    together = dict(Keywords().describe(TEXTS, users))
    assert together[0] == together[1][::-1]
    for row, groups in enumerate(users):
        assert dict(Keywords().describe(TEXTS, [groups]))[0] == together[row]


def test_phrases_are_cut_and_texts_without_terms_speak_for_themselves() -> None:
    assert Keywords(max_words=2).phrases(TEXTS, [[1, 2]])[0].count(" ") == 1
    lone = ["", "unicorn", "dragon", ""]  # no term occurs in two items
    assert Keywords().phrases(lone, [[1], [2]]) == ["unicorn", "dragon"]
    assert Keywords().phrases(["", "1 2", ""], [[1]]) == ["1 2"]
