from pathlib import Path

import pytest
import torch

from sage_pl.nn.item_encoders.cached import CachedItems, write_tables
from sage_pl.nn.item_encoders.gated import GatedExperts
from sage_pl.nn.item_encoders.gates import SharedGate
from sage_pl.nn.item_encoders.id import IdEncoder


def test_tables_answer_as_the_encoder_they_were_made_from(tmp_path: Path) -> None:
    """Two gated experts: what is read and what is scored differ."""
    encoder = GatedExperts(
        {"a": IdEncoder(5, 3), "b": IdEncoder(5, 2)}, lambda names: SharedGate(names, {"a": 1.0, "b": -1.0})
    )
    write_tables(encoder, ["a", "b"], tmp_path, torch.device("cpu"))
    cached, ids = CachedItems(tmp_path), torch.tensor([0, 3, 5, 6])
    ours, theirs = cached.views(ids), encoder.views(ids)
    for name in ("a", "b"):
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=0)
    torch.testing.assert_close(cached.output(ours), encoder.output(theirs), rtol=0, atol=0)
    assert (cached.n_items, cached.output_dim, dict(cached.input_dims)) == (5, 5, {"a": 3, "b": 2, "output": 5})
    assert not list(cached.parameters())


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no output\.npy; write it with scripts/export\.py"):
        CachedItems(tmp_path)
