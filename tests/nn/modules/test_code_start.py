"""A model over codes that starts from the item vectors of a finished run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sage_pl.nn.decoders.item_decoder import ItemDecoder
from sage_pl.nn.item_encoders.codes import CodeEncoder
from sage_pl.nn.modules.code_start import CodeStart
from sage_pl.nn.modules.generative import GenerativeRecommender
from sage_pl.nn.modules.sequential import SequentialRecommender
from sage_pl.nn.modules.warm_start import WarmStart
from sage_pl.nn.objectives.codes import CodeCrossEntropy
from sage_pl.nn.sequence_encoders.single import SingleView
from tests.golden.prepared import BACKBONES, N_ITEMS, Artifacts, left_pad, make_backbone, make_targets
from tests.nn.decoders.tiny import make_network
from tests.nn.modules.conftest import MakeModel

HISTORIES = left_pad([[1, 2, 3], [4], [5, 3, 2, 1]])
TRAINED = [1, 2, 3, 4, 5, 7, 9]  # items of the training sequences


@pytest.fixture
def run(make_model: MakeModel, tmp_path: Path) -> Any:
    """Makes the folder of a plain run of a backbone, and its model."""

    def make(backbone: str) -> tuple[str, SequentialRecommender]:
        plain = make_model(backbone, sage=False)
        torch.nn.init.normal_(plain.item_encoder.table.weight[1:])
        torch.save({"state_dict": plain.state_dict()}, tmp_path / "best.ckpt")
        np.save(tmp_path / "item_table.npy", plain.output_table()[:].detach().numpy())
        return str(tmp_path), plain.eval()

    return make


def coded(artifacts: Artifacts, tokens: str, backbone: str, add_id: bool, start: Any) -> GenerativeRecommender:
    decoder = ItemDecoder(tokens, N_ITEMS, make_network("bilinear", 8))
    items = CodeEncoder(N_ITEMS, tokens, 8, artifacts.text, add_id=add_id)
    torch.manual_seed(9)
    reader = SingleView(make_backbone(backbone), "item")
    targets, objective = make_targets(backbone), CodeCrossEntropy(artifacts.sequences)
    return GenerativeRecommender(items, reader, targets, decoder, objective, start=start).float().eval()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_histories_are_read_as_the_finished_run_reads_them(
    backbone: str, run: Any, artifacts: Artifacts, tokens: str
) -> None:
    folder, plain = run(backbone)
    start = {"codes": CodeStart(folder, artifacts.sequences), "states": WarmStart(folder, "sequence_encoder")}
    model = coded(artifacts, tokens, backbone, True, start)
    torch.testing.assert_close(model.states(HISTORIES), plain.states(HISTORIES), atol=1e-5, rtol=0)
    blurred = coded(artifacts, tokens, backbone, False, start).states(HISTORIES)  # published: a history of codes alone
    assert (blurred - plain.states(HISTORIES)).norm() > 0.1 * plain.states(HISTORIES).norm()
    own = model.item_encoder.own.weight.detach()  # type: ignore[union-attr]
    unread = sorted({*range(N_ITEMS + 2)} - {*TRAINED})
    assert not own[unread].any()
    assert own[TRAINED].abs().sum(1).all()


def test_codes_are_the_nearest_sums(run: Any, artifacts: Artifacts, tokens: str) -> None:
    """The ridge regression of the trained items' vectors on the indicators of their codes."""
    folder, plain = run("sasrec")
    model = coded(artifacts, tokens, "sasrec", False, {"codes": CodeStart(folder, artifacts.sequences, ridge=0.5)})
    codes = model.decoder.codes
    design = np.zeros((len(TRAINED), len(codes.weight)))
    for row, item in enumerate(TRAINED):
        design[row, codes.rows[item].numpy()] = 1
    table = plain.output_table()[:].detach().double().numpy()[TRAINED]
    expected = np.linalg.solve(design.T @ design + 0.5 * np.eye(design.shape[1]), design.T @ table)
    torch.testing.assert_close(codes.weight.detach().double(), torch.from_numpy(expected), atol=1e-5, rtol=0)


def test_what_has_no_codes_or_another_width_is_refused(
    run: Any, make_model: MakeModel, artifacts: Artifacts, tokens: str, tmp_path: Path
) -> None:
    folder, plain = run("sasrec")
    with pytest.raises(ValueError, match=r"item_encoder=codes.*start\.codes=null"):
        CodeStart(folder, artifacts.sequences)(plain)
    np.save(tmp_path / "item_table.npy", np.zeros((N_ITEMS + 2, 5), np.float32))
    with pytest.raises(ValueError, match=r"holds item vectors \[12, 5\], and the codes' vectors are 8 wide"):
        coded(artifacts, tokens, "sasrec", False, {"codes": CodeStart(folder, artifacts.sequences)})
