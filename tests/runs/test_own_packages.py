"""Classes of the user's own: allowed where their package is named, and no way out through its attributes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sage_pl.runs import checks
from sage_pl.runs.checks import ConfigError
from tests.planned import check_targets

MODULE = """
import os
import os as system_calls
from os import system
from subprocess import Popen

from sage_pl.nn.losses.alignment import Alignment


class Squared(Alignment):
    def forward(self, step):
        return super().forward(step) ** 2


def run(command): ...


term = Squared(1.0)
"""


@pytest.fixture(autouse=True)
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path with the packages ``tea_parts`` and ``tea_parts_too``, which nothing names yet."""
    for name in ("tea_parts", "tea_parts_too"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("SAGE_PL_PACKAGES", raising=False)
    checks._installed_packages.cache_clear()
    yield tmp_path
    checks._installed_packages.cache_clear()


def check(target: str) -> None:
    check_targets({"loss": {"terms": {"mine": {"_target_": target, "weight": 0.1}}}})


def test_a_package_that_is_not_named_is_refused_with_the_variable_that_names_it() -> None:
    with pytest.raises(
        ConfigError, match=r"terms\.mine\._target_ is 'tea_parts\.Squared'; .*variable SAGE_PL_PACKAGES"
    ):
        check("tea_parts.Squared")


@pytest.mark.parametrize("names", ["tea_parts", "other, tea_parts"])
def test_the_environment_variable_names_packages(names: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_PL_PACKAGES", names)
    check("tea_parts.Squared")
    with pytest.raises(ConfigError, match=r"_target_ is 'tea_parts_too\.Squared'; allowed are"):
        check("tea_parts_too.Squared")


def test_an_entry_point_of_an_installed_distribution_names_a_package(packages: Path) -> None:
    record = packages / "tea_parts-1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: tea-parts\nVersion: 1.0\n")
    (record / "entry_points.txt").write_text("[sage_pl.packages]\ntea = tea_parts\n")
    check("tea_parts.Squared")
    with pytest.raises(ConfigError, match=r"_target_ is 'tea_parts_too\.Squared'; allowed are"):
        check("tea_parts_too.Squared")


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("tea_parts.os.system", "lives outside"),
        ("tea_parts.system_calls.system", "lives outside"),
        ("tea_parts.system", "lives outside"),
        ("tea_parts.Popen", "lives outside"),
        ("tea_parts.os", "lives outside"),
        ("tea_parts.run", "parts are classes"),
        ("tea_parts.term", "parts are classes"),
        ("tea_parts.Squared.forward", "parts are classes"),
        ("tea_parts.Squared.__init__.__globals__.get", "lives outside|cannot be imported"),
        ("tea_parts.Squared.__class__", "lives outside"),
        ("tea_parts", "allowed are"),
    ],
)
def test_no_way_out_of_an_own_package_through_its_attributes(
    target: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGE_PL_PACKAGES", "tea_parts")
    with pytest.raises(ConfigError, match=reason):
        check(target)
