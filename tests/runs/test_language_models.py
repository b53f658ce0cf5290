"""A language model that a run cannot use is named before anything is prepared."""

from __future__ import annotations

from pathlib import Path

import pytest

from sage_pl.runs import requirements
from sage_pl.runs.checks import ConfigError
from sage_pl.semantic.language_models.loading import ModelError
from tests.planned import planned
from tests.semantic.scft.tiny import write_llama


def test_one_of_another_width_or_one_that_is_absent(tmp_path: Path) -> None:
    write_llama(tmp_path / "llama")
    asked = ["method=semantic_convergence_llm", f"decoder.model={tmp_path / 'llama'}", "decoder.offline=true"]
    with pytest.raises(ConfigError, match=r"model\.decoder: .* is 16 wide, dim is 576; set dim=16"):
        requirements.check(planned(*asked))
    absent = "cannot load the configuration of the language model 'nobody/nothing'; name a local"
    with pytest.raises(ModelError, match=absent):
        requirements.check(planned(*asked[:1], "decoder.model=nobody/nothing", "decoder.offline=true"))
