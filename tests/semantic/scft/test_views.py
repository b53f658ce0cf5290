import numpy as np
import polars as pl
import pytest

from sage_pl.semantic.scft.views import AttributeDropout, ValueDropout, ViewPairs, attribute_lists

FIVE = ("a", "b", "c", "d", "e")


def test_attributes_are_those_of_the_texts_one_by_one() -> None:
    items = pl.DataFrame(
        {
            "item": [2, 1, 3, 4, 5],
            "title": ["Tea", "Red  wine", None, "Tea", None],
            "brand": ["Acme", None, "Bolt", "Acme", " "],
            "categories": [["Drinks", None, "Hot"], ["Drinks"], [], ["Drinks", "Hot"], None],
        }
    )
    lists = attribute_lists(items, ["title", "brand", "categories"], {"brand": "by"})
    assert lists == [  # item 1 first; item 4 is equal to item 2; item 5 has nothing
        ("Red wine", "categories: Drinks"),
        ("Tea", "by: Acme", "categories: Drinks, Hot"),
        ("by: Bolt",),
    ]


@pytest.mark.parametrize(
    ("n", "ratio", "kept"),
    [(1, 0.4, 1), (2, 0.4, 2), (3, 0.4, 2), (4, 0.4, 3), (5, 0.4, 3), (2, 0.5, 1), (5, 1.0, 1), (1, 1.0, 1), (5, 0, 5)],
)
def test_a_view_keeps_so_many_distinct_attributes(n: int, ratio: float, kept: int) -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        view = AttributeDropout(ratio).draw(FIVE[:n], generator).split(". ")
        assert len(view) == len(set(view)) == kept
        assert set(view) <= set(FIVE[:n])


def test_every_attribute_may_be_dropped_and_every_order_may_come() -> None:
    generator = np.random.default_rng(0)
    views = {AttributeDropout().draw(FIVE, generator) for _ in range(2000)}
    assert len(views) == 5 * 4 * 3
    assert {AttributeDropout().draw("xy", generator) for _ in range(50)} == {"x. y", "y. x"}


def test_views_are_drawn_anew_at_every_access_and_follow_the_seed() -> None:
    items = [FIVE] * 30
    pairs, same, other = (ViewPairs(items, AttributeDropout(), seed=seed) for seed in (0, 0, 1))
    first, second = ([pairs[i] for i in range(30)] for _ in range(2))
    assert sum(a == b for a, b in zip(first, second, strict=True)) < 5
    assert sum(a == b for a, b in first) < 5  # the two views of an item are independent
    assert [same[i] for i in range(30)] == first
    assert [other[i] for i in range(30)] != first


def test_static_views_are_drawn_once() -> None:
    pairs = ViewPairs([FIVE] * 30, AttributeDropout(static=True))
    first, second = ([pairs[i] for i in range(30)] for _ in range(2))
    assert first == second
    assert len(set(first)) > 20


def test_the_instruction_stands_before_both_views() -> None:
    pairs = ViewPairs([("a",)], AttributeDropout(), "The item:")
    assert pairs[0] == ("The item:\na", "The item:\na")
    assert len(pairs) == 1


@pytest.mark.parametrize("ratio", [-0.1, 1.5])
def test_a_ratio_that_is_no_share_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match=r"steps\.scft\.views\.ratio is .*, wanted a share from 0 to 1"):
        AttributeDropout(ratio)


def test_every_value_of_a_list_may_be_an_attribute() -> None:
    items = pl.DataFrame(
        {
            "item": [1, 2, 3],
            "title": ["Diner", "Bar", "Hall"],
            "categories": [["Greek", "Hot  food", None], ["Wine"], None],
        }
    )
    lists = attribute_lists(items, ["title", "categories"], {"title": "name", "categories": "kind"}, each_value=True)
    assert lists == [
        ("name: Diner", "kind: Greek", "kind: Hot food"),
        ("name: Bar", "kind: Wine"),
        ("name: Hall",),
    ]


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_of_two_attributes_one_is_dropped(n: int) -> None:
    """The share of items that ever lose an attribute: with the published rounding 0 of those with two."""
    generator = np.random.default_rng(0)
    lost = {
        rule: any(len(rule().draw(FIVE[:n], generator).split(". ")) < n for _ in range(20))
        for rule in (AttributeDropout, ValueDropout)
    }
    assert lost == {AttributeDropout: n > 2, ValueDropout: n > 1}
    assert ValueDropout(0.0).dropped(n) == 0
    for k in range(3, 20):
        assert ValueDropout().dropped(k) == AttributeDropout().dropped(k)
