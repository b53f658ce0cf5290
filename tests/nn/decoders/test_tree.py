import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_pl.nn.decoders.tree import CodeTree
from tests.nn.decoders.tiny import CODES, SHARED, SIZES


def tree_of(codes: list[list[int]], sizes: tuple[int, ...]) -> CodeTree:
    return CodeTree(torch.nn.functional.pad(torch.tensor(codes), (0, 0, 1, 1), value=-1), sizes)


def strings(tree: CodeTree) -> list[list[tuple[int, ...]]]:
    """The codes of every node, by depth, and of every item."""
    found: list[list[tuple[int, ...]]] = [[()]]
    for depth in range(tree.levels):
        edges = zip(tree.parent(depth).tolist(), tree.code(depth).tolist(), strict=True)
        found.append([(*found[-1][parent], code) for parent, code in edges])
    return found


def test_a_tree_by_hand() -> None:
    tree = tree_of(CODES, SIZES)
    assert strings(tree)[1:3] == [[(0,), (1,), (2,)], [(0, 0), (0, 1), (1, 1), (2, 0), (2, 1)]]
    assert [tree.count(depth).tolist() for depth in range(3)] == [[3], [2, 1, 2], [2, 1, 1, 1, 2]]
    children = tree.below(1, torch.tensor([[2, 1]]))
    assert children.nodes.tolist() == [[[3, 4], [2, 0]]]
    assert children.real.tolist() == [[[True, True], [True, False]]]
    assert tree.path[1].tolist() == [0, 0, 0, 0]  # item 1
    assert tree.items.tolist() == [1, 2, 3, 7, 4, 5, 6]
    assert tree.collisions == 0


def test_items_that_share_their_codes_hang_below_one_string() -> None:
    tree = tree_of(SHARED, (2, 2))
    assert tree.collisions == 5 / 6
    assert tree.count(2).tolist() == [2, 1, 3]
    children = tree.below(2, torch.tensor([0, 2]))
    below = tree.items[children.nodes]
    assert below[0][children.real[0]].tolist() == [1, 3]
    assert below[1][children.real[1]].tolist() == [2, 5, 6]


@settings(max_examples=60)
@given(st.lists(st.tuples(*(st.integers(0, size - 1) for size in (4, 3, 5))), min_size=1, max_size=30))
def test_every_item_is_found_by_its_codes_and_nothing_else_is_in_the_tree(codes: list[tuple[int, ...]]) -> None:
    tree = tree_of([list(own) for own in codes], (4, 3, 5))
    found = strings(tree)
    for depth in range(1, 4):
        assert sorted(found[depth]) == sorted({own[:depth] for own in codes})
    for item, own in enumerate(codes, start=1):
        nodes = tree.path[item].tolist()
        assert [found[depth][node] for depth, node in enumerate(nodes[:-1], start=1)] == [own[:d] for d in (1, 2, 3)]
        assert tree.items[nodes[-1]] == item
    for depth in range(4):
        nodes, real = tree.below(depth, torch.arange(len(tree.count(depth))))
        assert nodes[real].tolist() == list(range(len(tree.parent(depth))))
        assert (tree.parent(depth)[nodes] == torch.arange(len(nodes))[:, None])[real].all()
    assert not tree.path[0].any()
    assert not tree.path[-1].any()
