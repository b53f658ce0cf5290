"""Views of items that came after training."""

from pathlib import Path

import pytest
import torch

from sage_pl.nn.item_encoders.new_items import new_views
from sage_pl.nn.item_encoders.text import TextEncoder
from tests.golden.prepared import write_rows


@pytest.mark.parametrize("standardise", [False, True])
def test_an_item_of_which_nothing_is_known_has_no_say_in_where_new_ones_go(standardise: bool, tmp_path: Path) -> None:
    known = torch.randn(9, 4) + 3
    known[2] = 0
    encoder = TextEncoder(9, str(write_rows(tmp_path / "embed", known.numpy())), dim=4, standardise=standardise).eval()
    views = new_views(encoder, known, known[[0, 7]], torch.ones(9, dtype=torch.bool), ["text"])
    expected = encoder.views(torch.tensor([1, 8]))["text"]
    torch.testing.assert_close(views["text"], expected, atol=1e-4, rtol=1e-4)
