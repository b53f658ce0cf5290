from pathlib import Path

import numpy as np
import torch

from sage_pl.item_encoders.vectors import load_table, standardised
from tests.golden.prepared import write_rows


def test_standardised_text_by_hand() -> None:
    table = torch.tensor([[0.0, 0], [3, 1], [1, 1], [2, 4], [0, 0]])
    centred = torch.tensor([[1.0, -1], [-1, -1], [0, 2]])  # mean (2, 2); squared lengths 2, 2, 4
    expected = torch.zeros(5, 2)
    expected[1:-1] = centred / (8 / 3) ** 0.5
    torch.testing.assert_close(standardised(table), expected)
    assert not standardised(torch.ones(4, 2)).any()


def test_writing_to_a_table_does_not_reach_its_file(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "embed", np.ones((3, 4)))
    table = load_table(path, 3)
    assert table.shape == (5, 4)
    table[1] = 7
    assert np.load(f"{path}/table.npy").max() == 1
