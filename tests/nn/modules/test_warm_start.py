from pathlib import Path

import pytest
import torch
from torch import nn

from sage_pl.nn.modules.warm_start import WarmStart


@pytest.fixture
def run(tmp_path: Path) -> str:
    torch.manual_seed(0)
    torch.save({"state_dict": nn.ModuleDict({"old": nn.Linear(3, 2)}).state_dict()}, tmp_path / "best.ckpt")
    return str(tmp_path)


def test_weights_are_copied_and_the_rest_stays(run: str) -> None:
    model = nn.ModuleDict({"new": nn.Linear(3, 2), "rest": nn.Linear(3, 2)})
    rest = model["rest"].weight.clone()
    WarmStart(run, "old", "new")(model)
    given = torch.load(Path(run) / "best.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(model["new"].weight, given["old.weight"])
    assert torch.equal(model["new"].bias, given["old.bias"])
    assert torch.equal(model["rest"].weight, rest)
    assert model["new"].weight.requires_grad


@pytest.mark.parametrize(
    ("source", "target", "part", "different"),
    [
        ("old", "new", nn.Linear(4, 2), "weight differ in name or shape"),
        ("old", "new", nn.Linear(3, 2, bias=False), "bias differ in name or shape"),
        ("absent", "new", nn.Linear(3, 2), "0 weights given, 2 wanted"),
        ("absent", "nowhere", nn.Linear(3, 2), "there is no weight"),
    ],
)
def test_other_parts_are_refused_whole(run: str, source: str, target: str, part: nn.Module, different: str) -> None:
    model = nn.ModuleDict({"new": part})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=different):
        WarmStart(run, source, target)(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
