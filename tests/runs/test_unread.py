"""What a user sets is read by the run, or named."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir

from sage_pl.commands.door import config_dir
from sage_pl.runs.plan import make_plan, recipe_of
from sage_pl.runs.unread import idle_without, unread
from tests.planned import WITHOUT_HYDRA, planned


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ("method=plain dim=32 seed=3 dropout=0.1 backbone.layers=3", ""),
        ("method=plain loss.gamma=0.05 method=plain", "loss.gamma"),
        ("method=plain freeze=false", "freeze"),
        ("method=plain +loss/term@loss.terms.alignment=alignment loss.beta=0.3", "loss.beta"),
        ("method=sage loss.gamma=0.1 steps.cluster.n_neighbors=9 dataset.cluster.min_samples=3", ""),
        ("method=plain steps.cluster.n_neighbors=9", "steps.cluster.n_neighbors"),
        ("method=plain dataset.cluster.min_samples=3", "dataset.cluster.min_samples"),
        ("method=pad loss.gamma=0.1", ""),
        ("method=pad without=pad/mmd loss.gamma=0.1", "loss.gamma"),
        ("method=llmemb loss.alpha=0.1 steps.scft.lora.r=4", ""),
        ("method=llm_esr loss.gamma=0.05", "loss.gamma"),
        ("method=plain dataset.ts_item=7", "dataset.ts_item"),
        ("method=plain ts_item=7", "ts_item"),
        ("method=plain evaluation.groups.ts_item=7", "evaluation.groups.ts_item"),
        ("method=plain dataset.ts_item=7 evaluation=reference", ""),
        ("method=plain +evaluation.foo=7 evaluation.ks=[10] evaluation.seed=3 evaluation.table_mb=9", "evaluation.foo"),
        ("method=plain dataset.ts_item=7 evaluation.groups.item_rule=ts_item", ""),
        ("method=sage sequence_encoder.cross_attention=false sequence_encoder.own_position=3", "sequence_encoder.own_position"),
        ("method=sage sequence_encoder.own_position=3 sequence_encoder.heads=4", ""),
        ("method=sage loss.terms.distillation.temperature=0.2", "loss.terms.distillation.temperature"),
        ("method=sage loss.terms.distillation.temperature=0.2 loss.user_sim_func=cl", ""),
        ("method=sage loss.terms.prototype.scope=batch loss.terms.prototype.sequences=null", "loss.terms.prototype.sequences"),
        ("method=sam sequence_encoder.residual=false sequence_encoder.gamma=0", "sequence_encoder.gamma"),
        ("method=sam sequence_encoder.gamma=0 steps.groups.min_distance=0.3", ""),
        ("method=sam steps.groups.fixed=4 steps.groups.min_distance=0.3", "steps.groups.min_distance"),
        ("method=sam sequence_encoder.extractor.layers=0 sequence_encoder.extractor.heads=2",
         "sequence_encoder.extractor.heads"),
        ("method=tiger steps.tokens.pivot=3", "steps.tokens.pivot"),
        ("method=tiger steps.tokens.quantiser.pull=0.9", "steps.tokens.quantiser.pull"),
        ("method=tiger tokenizer=letter steps.tokens.pivot=3 steps.tokens.quantiser.pull=0.9", ""),
        ("method=tiger item_encoder.adapter={_target_:torch.nn.Linear,_partial_:true}", "item_encoder.adapter"),
        ("method=transitions scorer.neighbours=3 scorer.recency=0.3", "scorer.neighbours"),
        ("method=neighbours scorer.neighbours=3", ""),
        ("method=neighbours optimizer.lr=0.1", "optimizer.lr"),
        ("method=plain optimizer.lr=0.1 schedule=warmup schedule.warmup=9", ""),
        ("method=llm_esr loss.alpha=0", ""),
        ("method=sage loss.terms.alignment.weight=0", ""),
        ("method=sage without=sage/distillation loss.alpha=0.4", "loss.alpha"),
        ("method=plain +lr=0.01 +loss.foo=1", "lr loss.foo"),
        ("method=plain +mine=0.01 optimizer.lr=${mine}", ""),
        ("method=melt +stages.plain.optimizer.lr=0.1 +stages.plain.seed=3", ""),
        ("method=melt +stages.plain.optimzer.lr=0.1 +stages.plain.loss.gamma=3 +stages.plain.freeze=false",
         "stages.plain.optimzer.lr stages.plain.loss.gamma stages.plain.freeze"),
        ("method=pad stages.align.loss.terms.alignment.unique=false +stages.plain.dropout=0.1", ""),
        ("method=pad +stages.align.steps.embed.normalize=false", "stages.align.steps.embed.normalize"),
        ("method=llmemb without=llmemb/scft steps.scft.trainer.max_epochs=2", "steps.scft.trainer.max_epochs"),
        ("method=llmemb without=llmemb/scft steps.scft.lora.r=4 steps.scft.columns=[title]", "steps.scft.lora.r"),
        ("method=sage loss.beta=0 loss.terms.alignment.unique=false", "loss.terms.alignment.unique"),
        ("method=sage without=sage/alignment loss.terms.alignment.cosine=false", "loss.terms.alignment.cosine"),
        ("method=semantic_convergence loss.terms.query_to_code.layer_norm=false", "loss.terms.query_to_code.layer_norm"),
        ("method=semantic_convergence loss.terms.query_to_code.layer_norm=false loss.terms.query_to_code.weight=1", ""),
        ("method=plain data.extras.neighbours.k=3", ""),  # named where it is left out: tests/e2e/test_train.py
        ("method=sage data.extras.neighbours.k=3", ""),
        ("method=plain callbacks.early_stopping=null", ""),
        ("method=pad +item_encoder.gate.starts.foo=[1,0] item_encoder.gate.starts.text=[1,0]", "item_encoder.gate.starts.foo"),
        ("method=pad without=pad/text_expert item_encoder.gate.starts.text=[1,0]", "item_encoder.gate.starts.text"),
        ("method=plain dataset.ts_user=7 dataset.seen=mask", ""),
        ("method=plain +dataset.ts_itm=7", "dataset.ts_itm"),
        ("method=plain dataset.prompt=[title] dataset.name=x", ""),
        ("method=sage dataset.prompt=[title]", ""),
        ("method=plain evaluation.sampled=20 data.batch_size=9 trainer.max_epochs=3 report=null", ""),
        ("method=semantic_convergence decoder.network.hidden=16 steps.tokens.quantiser.codes=9", ""),
    ],
)  # fmt: skip
def test_a_setting_is_read_or_named(overrides: str, expected: str) -> None:
    assert unread(planned(*overrides.split()), overrides.split()) == expected.split()


def test_values_of_every_kind_and_deletions_are_parsed() -> None:
    overrides = ["method=sage", "~loss.terms.prototype", "+loss/term@loss.terms.more=mse", "dataset.prompt=[title]"]
    assert unread(planned(*overrides), overrides) == []


def test_what_is_prepared_alone_reads_less() -> None:
    overrides = [
        "method=sage",
        "loss.alpha=0.3",
        "trainer.max_epochs=3",
        "steps.cluster.n_neighbors=9",
        "dataset.prompt=[title]",
    ]
    plan = planned(*overrides, wanted=["cluster"])
    assert unread(plan, overrides, trains=False) == ["loss.alpha", "trainer.max_epochs"]
    assert unread(plan, overrides) == []


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ("method=tiger backbone=gru4rec embedder=tfidf", "backbone"),
        ("method=stosa backbone=sasrec", "backbone"),
        ("method=plain backbone=sasrec decoder=t5", "decoder"),
        ("method=semantic_convergence_llm backbone=gru4rec", ""),  # of the plain run before it
        ("method=plain embedder=tfidf", "embedder"),
        ("method=llm_init embedder=tfidf", ""),
        ("method=plain embedder=tfidf scorer=fusion", ""),
        ("method=sage describer=local", "describer"),
        ("method=sam describer=local", ""),
        ("method=sage tokenizer=letter", "tokenizer"),
        ("method=semantic_convergence tokenizer=letter", ""),
        ("method=neighbours optimizer=row_adam schedule=warmup", "optimizer schedule"),
        ("method=plain optimizer=row_adam schedule=none", ""),
    ],
)
def test_a_choice_that_the_run_does_without_is_named(overrides: str, expected: str) -> None:
    words = overrides.split()
    choices = [f"+choices.{word.partition('=')[0]}=x" for word in words]  # which a command has
    assert unread(planned(*words, *choices), words) == expected.split()


@pytest.mark.parametrize(
    ("overrides", "idle"),
    [
        ("method=llmemb without=llmemb/scft", False),
        ("method=llmemb embedder=minilm without=llmemb/scft", True),
        ("method=sam without=sam/candidate_matching", False),
        ("method=sam scorer=none without=sam/candidate_matching", True),
        ("method=pad without=pad/anchor", False),  # changes a stage alone
        ("method=pad without=pad/mmd", False),
        ("method=sage without=sage/prototype loss.gamma=0", True),
        ("method=sage without=nothing", False),
        ("method=sage", False),
    ],
)
def test_a_part_left_out_that_was_not_there_is_named(overrides: str, idle: bool) -> None:
    typed = [*WITHOUT_HYDRA, *overrides.split()]
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        found = idle_without(make_plan(recipe_of(compose("train", overrides=typed))), typed)
    assert found == [one for one in typed if one.startswith("without=") and idle]
    assert not idle_without(planned(*overrides.split()), overrides.split()), "no command: nothing can be composed again"


@pytest.mark.parametrize(
    "overrides",
    [
        "method=pad without=pad/frequency item_encoder.gate.starts.aligned=-4",
        "method=sam without=sam/interest_text sequence_encoder.extractor.queries.count=3",
        "method=sam without=sam/own_interests steps.shuffled.seed=1",
    ],
)
def test_a_setting_of_what_takes_the_parts_place_is_no_fault(overrides: str) -> None:
    """It does not fit the whole method, which is composed for the comparison."""
    typed = [*WITHOUT_HYDRA, *overrides.split()]
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        assert idle_without(make_plan(recipe_of(compose("train", overrides=typed))), typed) == []
