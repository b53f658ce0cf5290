from pathlib import Path

import torch

from sage_pl.nn.item_encoders.id_beside_text import IdBesideText
from tests.golden.prepared import normal, write_rows

N = 5


def test_text_is_a_view_and_in_no_score(tmp_path: Path) -> None:
    text = normal(N, 3)
    items = IdBesideText(N, write_rows(tmp_path / "embed", text.numpy()), dim=4, standardise=False)
    ids = torch.tensor([1, 3, 0, N + 1])
    views = items.views(ids)
    assert torch.equal(views["id"], items.table.weight[ids])
    expected = items.adapter(torch.cat([text[[0, 2]], torch.zeros(2, 3).double()]).float())
    torch.testing.assert_close(views["text"], expected)
    assert items.output(views) is views["id"]
    assert dict(items.input_dims) == {"id": 4, "text": 4}
    assert items.views(ids, {"id"}).keys() == {"id"}
