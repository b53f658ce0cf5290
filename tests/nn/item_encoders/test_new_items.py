"""Views of items that came after training."""

from pathlib import Path

import pytest
import torch

from sage_pl.nn.item_encoders.dual import DualEncoder
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


def test_a_new_item_is_near_items_with_text_alone_and_without_text_stays_zero(tmp_path: Path) -> None:
    known = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    text, start = (str(write_rows(tmp_path / name, known.numpy())) for name in ("embed", "reduce"))
    encoder = DualEncoder(3, text, start, dim=2, standardise=True).eval()
    new = torch.tensor([[-1.0, -1.0], [0.0, 0.0]])
    views = new_views(encoder, known, new, torch.ones(3, dtype=torch.bool), ["id", "text"])
    between = encoder.views(torch.tensor([1, 2]))["id"].mean(0)  # as far from the one as from the other
    torch.testing.assert_close(views["id"][0], between)
    torch.testing.assert_close(views["text"][1], encoder.views(torch.tensor([3]))["text"][0])
