"""Numbers against the ranges in signatures."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from hydra.utils import get_object
from omegaconf import OmegaConf

from sage_pl.commands.door import config_dir, without_group
from sage_pl.errors import SettingError
from sage_pl.nn.backbones.sasrec import SASRec
from sage_pl.nn.sequence_encoders.dual import DualView
from sage_pl.ranges import Range
from sage_pl.runs.checks import nodes
from sage_pl.runs.numbers import hints, setting_problems
from sage_pl.runs.requirements import check_trainer
from tests.planned import composed, planned

UNCHECKED = {  # keys whose value is no count and no measure: Lightning reads a list, a name or a number
    "pytorch_lightning.Trainer": {"devices", "precision"},
}
CASES = [
    ("evaluation.seen=both", "evaluation.seen is 'both', wanted 'keep' or 'mask'"),
    ("backbone.norm=none", "backbone.norm is 'none', wanted 'sasrec', 'pre' or 'post'"),
    ("backbone.causal=maybe", "backbone.causal is 'maybe', wanted true or false"),
    ("dim=${oc.env:NO_SUCH_VARIABLE}", r"dim cannot be read: .*'NO_SUCH_VARIABLE' not found"),
    ("dim=${dim}", "cannot be read: Recursive interpolation detected"),
    ("dim=${no_such:1}", "cannot be read: Unsupported interpolation type no_such"),
    ("paths.outputs=null", "paths.outputs is None, wanted a folder"),
    ("stages=5", "stages is 5, wanted keys with values"),
    ("paths.data=", "paths.data is '', wanted a folder"),
    ("dim=0", "dim is 0, wanted an integer of at least 1"),
    ("dim=true", "dim is True, wanted an integer"),
    ("dim=null", "dim is None, wanted an integer"),
    ("dim=8.0", "dim is 8.0, wanted an integer"),
    ("data.batch_size='16'", "data.batch_size is '16', wanted an integer"),
    ("backbone.heads=5", "backbone.heads is 5, wanted a divisor of dim, which is 64"),
    ("dropout=nan", "dropout is nan, wanted a number of at least 0 and below 1"),
    ("optimizer.lr=1e30", r"optimizer.lr is 1e\+30, wanted a number"),
    ("evaluation.ks=[5,0]", r"evaluation.ks\[1\] is 0, wanted an integer of at least 1"),
    ("evaluation.ks=[]", r"evaluation.ks is \[\], wanted a list of numbers"),
    ("dataset.ts_user=0", "evaluation.groups.ts_user is 0"),
    ("callbacks.early_stopping.patience=-1", "callbacks.early_stopping.patience is -1"),
    ("dataset.filters=core", "dataset.filters is 'core', wanted a list of parts, .* is chosen by filters=core"),
    ("dataset.filters=[core]", r"dataset.filters is \['core'\], wanted a list of parts"),
    ("+trainer.limit_val_batches=0", "trainer.limit_val_batches is 0"),
]


@pytest.mark.parametrize(("override", "text"), CASES)
def test_a_plan_refuses_a_number_out_of_range_in_words(override: str, text: str) -> None:
    with pytest.raises(SettingError, match=text):
        planned("method=plain", override)


def test_one_wrong_value_is_one_line_by_the_key_where_it_was_written() -> None:
    with pytest.raises(SettingError) as error:
        planned("method=sage", "dim=-3")
    assert str(error.value).count("dim is -3") == 1
    assert "\n" not in str(error.value)


def test_numbers_at_the_edge_fit() -> None:
    assert not setting_problems(hints(SASRec), {"dim": 8, "heads": 8, "dropout": 0, "layers": 1, "max_len": 1})
    assert not setting_problems(hints(SASRec), {"dropout": -0.0})
    assert not setting_problems(hints(SASRec), {"dropout": 1e-320})


def test_heads_divide_the_width_of_a_part_inside() -> None:
    (line,) = setting_problems(hints(DualView), {"heads": 3, "backbone": {"dim": 8}}, "sequence_encoder")
    assert line == "sequence_encoder.heads is 3, wanted a divisor of backbone.dim, which is 8"


def test_a_trainer_is_refused_before_preparation() -> None:
    with pytest.raises(SettingError, match=r"the trainer cannot be built: .*'text'"):
        check_trainer(planned("method=plain", "trainer.precision=text").config)


@pytest.mark.parametrize("name", ["last", "early_stopping", "epoch_seed", "spectrum", "gradient_norms", "footprint"])
def test_null_switches_a_callback_off(name: str) -> None:
    config = planned("method=plain", f"callbacks.{name}=null").config
    assert name not in config.callbacks
    check_trainer(config)


def test_a_run_needs_its_best_epoch() -> None:
    with pytest.raises(SettingError, match=r"callbacks\.best is off"):
        check_trainer(planned("method=plain", "~callbacks").config)


def test_null_as_a_choice_leaves_the_group_out(tmp_path: Path) -> None:
    conf = config_dir()
    got = [
        without_group(text, conf) for text in ("logger=null", "loss=null", "report=null", "dim=8", "backbone=bsarec")
    ]
    assert got == ["~logger", "loss=none", "report=null", "dim=8", "backbone=bsarec"]


def numbers(value: Any, path: str = "") -> Iterator[str]:
    """Dotted keys of the numbers of one part, without those of the parts in it."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield path
    elif isinstance(value, dict) and ("_target_" not in value or not path):
        for key, child in value.items():
            yield from numbers(child, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for child in value:
            yield from numbers(child, path)


def ranged(hint: Any) -> bool:
    """Whether every number of an annotation has a range."""
    if typing.get_origin(hint) is Annotated and any(isinstance(one, Range) for one in hint.__metadata__):
        return True
    return hint not in (int, float) and all(map(ranged, typing.get_args(hint)))


def parts_of_conf() -> dict[str, dict[str, str]]:
    """Targets of conf/, each with the keys of it that hold a number and the file."""
    found: dict[str, dict[str, str]] = {}
    for file in sorted(config_dir().rglob("*.yaml")):
        content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        for _, node in nodes(content):
            if not str(node["_target_"]).startswith(("hydra", "${")):
                keys = {key.split(".")[0]: file.name for key in numbers(dict(node))}
                found.setdefault(node["_target_"], {}).update(keys)
    return found


@pytest.mark.parametrize(("target", "keys"), parts_of_conf().items())
def test_every_number_of_conf_has_a_range_where_it_is_used(target: str, keys: dict[str, str]) -> None:
    known = hints(get_object(target), target)
    without = [
        key for key in keys if key not in UNCHECKED.get(target, ()) and not (key in known and ranged(known[key]))
    ]
    assert not without
    if target.startswith("sage_pl."):
        bare = [key for key, hint in known.items() if key not in ("self", "return") and "Callable" not in str(hint)]
        allowed = {"classvar", "inputs", "libraries", "version"}
        assert not [key for key in bare if key not in allowed and not ranged(known[key]) and _holds_number(known[key])]


def _holds_number(hint: Any) -> bool:
    return hint in (int, float) or any(map(_holds_number, typing.get_args(hint)))


def test_numbers_written_outside_of_parts_are_read_by_one() -> None:
    raw: Any = OmegaConf.to_container(composed("method=sage"), resolve=False)
    text = str(raw)
    free = [
        key for key in numbers({k: v for k, v in raw.items() if not isinstance(v, dict)}) if f"${{{key}}}" not in text
    ]
    assert not free
