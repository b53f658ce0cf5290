"""Every file in conf/ composes, names only what is allowed, and fits the signature it names."""

from __future__ import annotations

import pytest
from hydra.utils import get_object
from omegaconf import OmegaConf

from sage_pl.runs.hints import known_keys, suggest
from sage_pl.runs.plan import resolve_with_placeholders
from tests import planned
from tests.configs.composing import ALSO, CONF, PARTS, choices, composed, resolved
from tests.planned import check_targets

TERMS = [path.stem for path in sorted((CONF / "loss" / "term").glob("*.yaml"))]
WEIGHTS = {"distillation": "alpha", "alignment": "beta", "prototype": "gamma"}


@pytest.mark.parametrize("choice", choices())
def test_every_choice_composes_and_binds(choice: str) -> None:
    check_targets(resolved(composed(*ALSO.get(choice, []), choice), *PARTS, "alone"))


@pytest.mark.parametrize("name", ["train", "prepare", "evaluate", "export_handled", "export", "compare", "data"])
def test_the_commands_compose(name: str) -> None:
    assert composed(name=name)


@pytest.mark.parametrize("term", TERMS)
def test_every_term_can_be_added_to_any_method(term: str) -> None:
    added = f"+loss/term@loss.terms.extra={term}"
    config = composed("method=plain", added)
    check_targets(resolved(config, "model"))
    decodes = getattr(get_object(config.loss.terms.extra._target_), "decodes", False)
    config = planned.composed(f"method={'semantic_convergence' if decodes else 'plain'}", added)
    model = resolve_with_placeholders(config, ["model"])["model"]
    assert model["terms"]["extra"], "what the term refers to comes with it"
    if term in WEIGHTS:
        assert config.loss.terms.extra.weight == composed("method=sage").loss[WEIGHTS[term]]


@pytest.mark.parametrize(
    ("overrides", "targets"),
    [
        (["backbone=sasrec"], "NextItem"),
        (["backbone=bert4rec"], "Cloze"),
        (["backbone=gru4rec"], "NextItem"),
        (["backbone=gru4rec", "targets=last_item"], "LastItem"),
        (["backbone=bert4rec", "targets=next_item"], "NextItem"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_the_backbone_chooses_its_targets_and_the_command_line_wins(overrides: list[str], targets: str) -> None:
    assert composed(*overrides).targets._target_.endswith(targets)


def test_the_public_contract() -> None:
    config = composed("method=sage")
    assert (config.loss.alpha, config.loss.beta, config.loss.gamma, config.loss.fuzzy_m) == (0.1, 0.1, 0.05, 2)
    assert config.loss.user_sim_func == "kd"
    assert config.freeze is True
    assert config.paths.data == "data"
    for key in ("paths.outputs", "seed", "trainer.max_epochs", "data.batch_size", "data.max_len", "ts_user", "ts_item"):
        assert OmegaConf.select(config, key) is not None, key
    for group in ("dataset", "method", "backbone", "loss", "objective", "embedder"):
        assert (CONF / group).is_dir(), group
    for group in ("evaluation", "trainer", "logger", "experiment", "debug"):
        assert (CONF / group).is_dir(), group


def test_one_choice_takes_every_step_from_a_handled_folder() -> None:
    given = ["dataset=handled", "dataset.path=DIR", "semantic=handled"]
    config = composed(*given, "embedder=precomputed", "steps.embed.path=FILE")
    steps = resolved(config, "steps")["steps"]
    kinds = {name: node["_target_"].rsplit(".", 1)[-1] for name, node in steps.items()}
    assert {name for name, kind in kinds.items() if kind.startswith("Precomputed")} == {
        "embed",
        "reduce",
        "cluster",
        "profile",
        "retrieve",
    }
    assert {steps[name]["path"] for name in ("reduce", "cluster", "profile", "retrieve")} == {"DIR"}


def test_what_is_prepared_follows_from_what_is_used() -> None:
    plain, sage, light = (
        planned.planned("method=plain"),
        planned.planned("method=sage"),
        planned.planned("method=sage", "loss.alpha=0"),
    )
    assert plain.artifacts == ("candidates", "sequences")
    assert sage.artifacts == ("candidates", "cluster", "embed", "reduce", "retrieve", "sequences")
    assert "retrieve" not in light.artifacts


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["method=llmemb"], {"teacher_alignment": 0.3}),
        (
            ["method=llmemb", "+loss/term@loss.terms.distillation=distillation"],
            {"teacher_alignment": 0.3, "distillation": 0.1},
        ),
        (
            ["method=llmemb", "loss.alpha=1", "+loss/term@loss.terms.bank=distillation_bank"],
            {"teacher_alignment": 1, "bank": 0.1},
        ),
        (["method=pad", "+loss/term@loss.terms.prototype=prototype"], {"prototype": 0.05}),
        (["method=sage", "loss.gamma=1"], {"distillation": 0.1, "alignment": 0.1, "prototype": 1}),
        (
            ["method=sage", "loss/term@loss.terms.distillation=distillation_bank", "loss.alpha=1"],
            {"distillation": 1, "alignment": 0.1, "prototype": 0.05},
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_term_has_the_weight_of_its_method_or_its_own(overrides: list[str], expected: dict[str, float]) -> None:
    assert {name: term.weight for name, term in composed(*overrides).loss.terms.items()} == expected


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("loss.gama", "loss.gamma"),
        ("backbon", "backbone"),
        ("trainer.max_epoch", "trainer.max_epochs"),
        ("gamma", "loss.gamma"),
    ],
)
def test_a_mistyped_key_is_recognised(typed: str, meant: str) -> None:
    groups = [path.name for path in CONF.iterdir() if path.is_dir()]
    assert meant in suggest(typed, known_keys(composed()) + groups)


@pytest.mark.parametrize("choices", ["method=semantic_convergence decoder=transformer", "method=tiger"])
def test_a_network_that_reads_every_prefix_anew_ranks_catalogues_by_beams(choices: str) -> None:
    """An item costs it a pass: Pantry's 8,347 took 112 s a batch."""
    config = composed(*choices.split(), "dataset=pantry")
    assert config.decoder.exhaustive_up_to <= 1000 < config.dataset.expect["items"]
    assert composed("method=semantic_convergence").decoder.exhaustive_up_to > config.dataset.expect["items"]


@pytest.mark.parametrize("debug", ["limit", "fast_dev_run"])
def test_a_trial_limits_all_that_reads_data(debug: str) -> None:
    trainer = composed(f"debug={debug}").trainer
    assert max(trainer[f"limit_{part}_batches"] for part in ("train", "val", "test")) <= 8


def test_codes_start_from_a_plain_run_of_inner_products_whatever_the_tokenizer() -> None:
    for tokenizer in ("convergence", "collaborative", "letter", "tiger", "lc_rec"):
        config = composed("method=semantic_convergence", f"tokenizer={tokenizer}")
        assert config.start.keys() == {"codes", "states"}
        stage = config.stages.plain
        assert stage.model._target_.endswith("SequentialRecommender")
        assert stage.objective._target_.endswith("Softmax")
        assert stage.decoder is None
