"""``experiment=reference_*``: every parity switch of docs/deviations.md that names the method is set, and a plan accepts it.

No method's defaults have one of them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from hydra.utils import get_object
from omegaconf import OmegaConf

from sage_pl.artifacts.identity import flat, value_at
from tests.configs.composing import composed
from tests.planned import planned

ROOT = Path(__file__).parent.parent.parent
CONF = ROOT / "conf"
PAGE = (ROOT / "docs" / "deviations.md").read_text()
METHODS = ("sage", "llm_esr", "llmemb", "pad", "sam")
OF_SAGE_ALONE = re.compile(r"(loss\.terms\.(prototype|alignment)\.|loss\.fuzzy_m|steps\.cluster\.)")
TWO_VALUES = ("steps.cluster.fuzzy_m", 2)  # the default, which loss.fuzzy_m=1.8 would change
SWITCH = re.compile(r"^'?\+?([\w.@/]+)=(.+?)'?$")


class Switch(NamedTuple):
    method: str
    backbone: str
    key: str
    value: Any


def tables() -> list[list[list[str]]]:
    """The rows of each table of the page, without its head."""
    blocks = re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE)
    return [[[cell.strip() for cell in row.strip("|").split(" | ")] for row in b.splitlines()[2:]] for b in blocks]


def switches_in(cell: str) -> Iterator[tuple[str, Any]]:
    for text in re.findall(r"`([^`]+)`", cell):
        for word in text.split():
            if match := SWITCH.match(word):
                yield match[1], yaml.safe_load(match[2])


def switches() -> list[Switch]:
    of_the_code_line, of_methods, worth = tables()
    found = []
    for row in of_the_code_line:
        for key, value in switches_in(row[3]):
            methods = ("sage",) if OF_SAGE_ALONE.match(key) else ("sage", "llm_esr")
            backbone = "gru4rec_reference" if "GRU4Rec" in row[0] else "sasrec_reference"
            found += [Switch(method, backbone, key, value) for method in methods]
    for method, _, here, parity in of_methods:
        if method.lower() in METHODS and not here.startswith("the same"):
            found += [Switch(method.lower(), "", key, value) for key, value in switches_in(parity)]
    for methods_of_row, _, cell, *_ in worth:
        found += [Switch(m, "", key, value) for m in methods_of_row.split(", ") for key, value in switches_in(cell)]
    return found


def quirks() -> list[Switch]:
    """The switches, and those of methods without a preset, each once."""
    _, of_methods, _ = tables()
    others = [(row[0].lower().replace(" ", "_"), row[3]) for row in of_methods if row[0].lower() not in METHODS]
    more = [Switch(method, "", key, value) for method, cell in others for key, value in switches_in(cell)]
    return sorted(
        {(s.method, s.key): s for s in [*switches(), *more] if (s.key, s.value) != TWO_VALUES}.values(), key=str
    )


def composition(method: str, backbone: str) -> tuple[dict[str, Any], dict[str, Any]]:
    config = composed(f"experiment=reference_{method}", *([f"backbone={backbone}"] if backbone else []))
    plain: Any = OmegaConf.to_container(config, resolve=False)
    return plain, plain["hydra"]["runtime"]["choices"]


@pytest.mark.parametrize("switch", switches(), ids=lambda s: f"{s.method}-{s.key}-{s.value}")
def test_every_switch_of_the_page_is_set(switch: Switch) -> None:
    config, choices = composition(switch.method, switch.backbone)
    if switch.key in choices:
        expected = f"{switch.value}_reference" if switch.value == "sasrec" else switch.value
        assert choices[switch.key] == expected
    else:
        assert value_at(config, switch.key) == switch.value


@pytest.mark.parametrize(("method", "backbone"), sorted({switch[:2] for switch in quirks()}))
def test_no_quirk_is_a_default(method: str, backbone: str) -> None:
    config = composed(f"method={method}", *([f"backbone={backbone.removesuffix('_reference')}"] if backbone else []))
    plain: Any = OmegaConf.to_container(config, resolve=False)
    choices = plain["hydra"]["runtime"]["choices"]
    for switch in (switch for switch in quirks() if switch[:2] == (method, backbone)):
        assert choices.get(switch.key, value_at(plain, switch.key)) != switch.value, switch.key
        of_a_stage = switch.key.startswith("stages.")  # which holds what differs from the run
        assert of_a_stage or switch.key in choices or is_a_setting(plain, switch.key), switch.key


def is_a_setting(config: dict[str, Any], key: str) -> bool:
    """Whether a configuration has the key, or the class of its node takes it, or the one that another switch sets there."""
    above, _, name = key.rpartition(".")
    node = value_at(config, above) if above else config
    if name in node:
        return True
    classes = {node["_target_"], *(switch.value for switch in quirks() if switch.key == f"{above}._target_")}
    return any(name in inspect.signature(get_object(one)).parameters for one in classes)


@pytest.mark.parametrize("method", METHODS)
def test_a_new_row_without_the_preset_would_be_found(method: str) -> None:
    assert len([switch for switch in switches() if switch.method == method]) >= 5


@pytest.mark.parametrize("method", METHODS)
def test_the_plan_accepts_the_preset_and_each_quirk_has_its_comment(method: str) -> None:
    plan = planned(f"experiment=reference_{method}")
    assert plan.config.data.length_block == 1
    assert plan.recipe["objective"]["_target_"].endswith("bce.BCE")
    text = (Path(__file__).parent.parent.parent / "conf" / "experiment" / f"reference_{method}.yaml").read_text()
    head, _, body = text.partition("defaults:")
    assert f"python train.py experiment=reference_{method}" in head
    settings = re.findall(r"^ +\w+: (?:[\w.{\[]|\$\{).*$", body, re.MULTILINE)
    assert sum("#" in line for line in settings) >= len(settings) * 2 // 3


WITHOUT = sorted(path for method in METHODS for path in (CONF / "without" / method).glob("*.yaml"))


@pytest.mark.parametrize("part", WITHOUT, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_part_can_be_left_out_of_the_preset(part: Path) -> None:
    overrides = [f"experiment=reference_{part.parent.name}", f"without={part.parent.name}/{part.stem}"]
    plain: Any = OmegaConf.to_container(composed(*overrides), resolve=False)
    wanted = yaml.safe_load(part.read_text())
    for entry in wanted.pop("defaults", []):
        for key, value in entry.items():
            assert plain["hydra"]["runtime"]["choices"][key.removeprefix("override /")] == value
    for key, value in flat(wanted):
        assert value_at(plain, key) == value, key
    experts = planned(*overrides).config.item_encoder.get("experts") or {}
    assert all("_target_" in expert for expert in experts.values())


@pytest.mark.parametrize("backbone", ["bert4rec_reference", "gru4rec_reference"])
@pytest.mark.parametrize("method", ["sage", "llm_esr", "llmemb"])
def test_other_backbones_have_their_published_form(method: str, backbone: str) -> None:
    plan = planned(f"experiment=reference_{method}", f"backbone={backbone}")
    kind = "LastItem" if backbone.startswith("gru") else "Cloze"
    assert plan.config.targets._target_.endswith(kind)
