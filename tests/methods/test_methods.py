"""Every method file with every backbone: it composes, binds, and makes one finite training step on the small world."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from sage_pl.nn.modules.sequential import SequentialRecommender
from sage_pl.runs.parts import build_parts
from sage_pl.runs.plan import PARTS, Plan, fill_in_artifacts, resolve_with_placeholders
from sage_pl.runs.preparation import prepare
from tests.e2e.test_methods import SMALL
from tests.planned import check_targets, planned, prepared

CONF = Path(__file__).parent.parent.parent / "conf"
METHODS = sorted(path.stem for path in (CONF / "method").glob("*.yaml"))
UNTRAINED = ("id_and_text", "neighbours", "repeat", "text_knn", "transitions")  # stages apart
LLM = ("semantic_convergence_llm",)  # reads a language model's folder: tests/e2e/test_language_model.py
BACKBONES = ("sasrec", "bert4rec", "gru4rec", "bsarec", "caser")
QUICK = ("plain", "sage")  # with every backbone in the quick suite
CELLS = [
    pytest.param(method, backbone, marks=[] if method in QUICK or backbone == "sasrec" else [pytest.mark.slow])
    for method in METHODS
    if method not in UNTRAINED + LLM
    for backbone in BACKBONES
]

MakePlan = Callable[..., Plan]


@pytest.fixture
def plan_of(small_settings: list[str]) -> MakePlan:
    """The plan of a command on the small world."""

    def make(method: str, *overrides: str, wanted: Iterable[str] | None = None) -> Plan:
        return planned(*small_settings, f"method={method}", *SMALL.get(method, []), *overrides, wanted=wanted)

    return make


def first_step(plan: Plan) -> tuple[SequentialRecommender, dict[str, float]]:
    """Prepare, build and train one batch; the model with its gradients, and what it logged."""
    config = prepared(plan)
    pl.seed_everything(config.seed, verbose=False)
    datamodule, model, _ = build_parts(config, {})
    model.training_step(next(iter(datamodule.train_dataloader())), 0).backward()
    return model, measured(model)


def measured(model: SequentialRecommender) -> dict[str, float]:
    """What the steps until now would be logged as."""
    return {name.removeprefix("train/loss/"): float(value) for name, value in model.means.take().items()}


@pytest.mark.parametrize(("method", "backbone"), CELLS)
def test_a_method_composes_binds_and_takes_a_step(method: str, backbone: str, plan_of: MakePlan) -> None:
    plan = plan_of(method, f"backbone={backbone}", "trainer.max_epochs=1")
    check_targets(resolve_with_placeholders(plan.config, (*PARTS, "steps")))
    model, logged = first_step(plan)
    assert logged.keys() == {"train/loss", "recommendation", *plan.config.loss.terms}
    assert torch.tensor(list(logged.values())).isfinite().all(), logged
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    for part in ("item_encoder.", "sequence_encoder."):
        assert any(gradient.any() for name, gradient in gradients.items() if name.startswith(part)), part


ADAPTER = "item_encoder.adapter={{_target_:{},_partial_:true{}}}"
DISTILLATION = "+loss/term@loss.terms.distillation=distillation"


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["text_only", "freeze=false"],
        ["text_only", ADAPTER.format("torch.nn.Linear", "")],
        ["text_only", ADAPTER.format("sage_pl.nn.item_encoders.adapter.MLPAdapter", ",dropout:0.2")],
        ["text_only", ADAPTER.format("torch.nn.Identity", ""), "item_encoder.text=${artifacts.reduce}"],
        ["text_only", DISTILLATION],
        ["llm_init", "item_encoder.init_std=0.02"],
        ["llm_init", DISTILLATION],
        ["residual_text", "item_encoder.standardise=true"],
        ["llm_esr", "loss.alpha=0"],
        ["llm_esr", "sequence_encoder.cross_attention=false"],
        ["llm_esr", "item_encoder.init=null"],
        ["sam", "without=sam/interest_text"],
        ["sam", "without=sam/cross_interest_attention"],
        ["sam", "without=sam/adaptive_interests"],
        ["sam", "without=sam/own_interests"],
        ["sam", "sequence_encoder.readout=max"],
        ["sam", "sequence_encoder.readout=attention", "backbone=bert4rec"],
        ["sam", "backbone=none", "sequence_encoder.residual=false", "targets=last_item", "objective=bce"],
        ["sam", DISTILLATION],
        ["comirec", "backbone=none"],
        ["sine", "backbone=bsarec"],
        ["mind", "backbone=none", "objective=sampled_softmax", "dropout=0"],
        ["mind", "sequence_encoder.extractor.adaptive=false"],
        ["stosa", "objective=bpr", "sequence_encoder.update_mean=false"],
        ["stosa", "objective=bce"],
        ["plain", "objective=bpr"],
        ["plain", "backbone=caser", "backbone.relu=true", "backbone.window=3"],
        ["plain", "backbone=caser", "targets=last_item"],
        ["melt", "backbone=bsarec"],
        ["ctrl", "stages.align.objective.weight=1", "stages.align.loss.terms.alignment.parts=1"],
        ["eimf", "sequence_encoder=mind"],
        ["eimf", "sequence_encoder=sine"],
        ["eimf", "loss.terms.interest_alignment.typical=1"],
        ["plain", "backbone=bsarec"],
        ["plain", "backbone=bsarec", "backbone.init_std=0.02"],
        ["plain", "backbone.norm=pre"],
        ["plain", "backbone=bert4rec", "backbone.norm=post", "backbone.init_std=0.02"],
        ["llm_init", "steps.reduce.ridge=500", "item_encoder.init_std=0.02"],
        ["plain", "model=cosine", "objective=sampled_softmax"],
        ["llm_esr", "model=cosine"],
        ["comirec", "model=cosine"],
    ],
    ids=lambda overrides: " ".join(overrides),
)
def test_the_variants_of_the_methods_page_take_a_step(overrides: list[str], plan_of: MakePlan) -> None:
    plan = plan_of(*overrides)
    _, logged = first_step(plan)
    assert logged.keys() == {"train/loss", "recommendation", *plan.config.loss.terms}
    assert torch.tensor(list(logged.values())).isfinite().all(), logged


@pytest.mark.parametrize("method", METHODS)
def test_a_method_file_is_short_and_says_what_it_adds(method: str) -> None:
    lines = (CONF / "method" / f"{method}.yaml").read_text().splitlines()
    assert len(lines) <= 25
    assert lines[0] == "# @package _global_"
    assert lines[1].startswith("# ")
    assert f"Run: python train.py method={method}" in "\n".join(lines[1:6])


def test_residual_text_starts_as_the_plain_model(plan_of: MakePlan) -> None:
    plain, logged = first_step(plan_of("plain"))
    model, first = first_step(plan_of("residual_text"))
    assert first == logged
    expected, got = plain.state_dict(), model.state_dict()
    assert got.keys() - expected.keys() == {"item_encoder.weight"}
    for name, value in expected.items():
        assert torch.equal(got[name], value), name


def test_llm_esr_is_sage_without_alignment_and_prototypes(plan_of: MakePlan) -> None:
    _, expected = first_step(plan_of("sage", "loss.beta=0", "loss.gamma=0"))
    _, logged = first_step(plan_of("llm_esr"))
    assert logged == expected
    assert logged.keys() == {"train/loss", "recommendation", "distillation"}


def test_sam_starts_as_the_plain_model(plan_of: MakePlan) -> None:
    """With the weights of a plain model, since its own parts draw random numbers too, its first loss is the plain one's."""
    plain, expected = first_step(plan_of("plain", "dropout=0"))
    plan = plan_of("sam", "dropout=0", "sequence_encoder.gamma=0")
    model, _ = first_step(plan)
    own, given = model.state_dict(), plain.state_dict()
    more = own.keys() - given.keys()
    assert all(name.startswith(("sequence_encoder.extractor.", "sequence_encoder.gamma")) for name in more)
    model.load_state_dict(own | given)
    model.training_step(next(iter(build_parts(prepared(plan), {}).datamodule.train_dataloader())), 0)
    assert measured(model)["train/loss"] == expected["train/loss"]


def test_sam_prepares_interests_where_text_is_asked_for(plan_of: MakePlan) -> None:
    assert "interests" in plan_of("sam").artifacts
    assert "interests" in plan_of("sam", "scorer=none").artifacts
    assert "interests" in plan_of("plain", "scorer=interests").artifacts
    for scorer in ("interests", "none"):
        assert "shuffled" in plan_of("sam", f"scorer={scorer}", "without=sam/own_interests").artifacts
    for overrides in (["sam", "without=sam/interest_text"], ["comirec"], ["sine"]):
        assert plan_of(*overrides).artifacts == ("candidates", "sequences")


def test_interests_come_from_the_cache_as_they_were_made(plan_of: MakePlan, tmp_path: Path) -> None:
    """Made twice, in two places, they are the same to the bit; asked for again, nothing is made."""
    made = []
    for name in ("one", "other"):
        command = ["sam", f"paths.artifacts={tmp_path / name}"]
        made.append(prepare(plan_of(*command, wanted=["interests"])))
        again = prepare(plan_of(*command, wanted=["interests"]))
        assert again["interests"].manifest == made[-1]["interests"].manifest  # with the time it was made
    for step, files in (("groups", ("items", "labels", "offsets")), ("interests", ("values", "offsets"))):
        one, other = (artifacts[step] for artifacts in made)
        assert one.key == other.key
        assert all((one.path / f"{f}.npy").read_bytes() == (other.path / f"{f}.npy").read_bytes() for f in files)
    assert made[0]["phrases"].frame("phrases").equals(made[1]["phrases"].frame("phrases"))


def test_llm_init_starts_from_the_reduced_text(plan_of: MakePlan) -> None:
    start = prepare(plan_of("llm_init", wanted=["reduce"]))["reduce"].array("table")[1:-1]
    model, _ = first_step(plan_of("llm_init"))
    assert torch.equal(model.item_encoder.table.weight.detach()[1:-1], torch.tensor(start))  # type: ignore[union-attr]


def test_one_step_class_serves_two_steps(plan_of: MakePlan) -> None:
    assert plan_of("whitened_text").artifacts == ("candidates", "sequences", "whiten")
    plan = plan_of("whitened_text", wanted=["whiten", "reduce"])
    made = prepare(plan)
    assert made["whiten"].key != made["reduce"].key
    assert made["whiten"].path.parent == made["reduce"].path.parent
    assert made["whiten"].array("table").shape[1] == 6
    assert made["whiten"].array("table")[1:-1].std(0, ddof=1) == pytest.approx(1, abs=1e-4)
    config = fill_in_artifacts(plan.config, made)
    assert config.artifacts.whiten == str(made["whiten"].path.resolve())
    assert config.item_encoder.text == config.artifacts.whiten


@pytest.mark.parametrize("method", ["text_only", "residual_text"])
def test_the_freeze_key_reaches_every_text_encoder(method: str, plan_of: MakePlan) -> None:
    assert plan_of(method).config.item_encoder.freeze is True
    assert plan_of(method, "freeze=false").config.item_encoder.freeze is False


@pytest.mark.parametrize(
    ("method", "backbone"), [("plain", "sasrec"), ("llm_esr", "bert4rec"), ("text_only", "gru4rec")]
)
def test_semantic_similarity_joins_any_methods_ranking(method: str, backbone: str, plan_of: MakePlan) -> None:
    choices = {"without": ["scorer=none"], "zero": ["scorer=semantic", "scorer.weight=0"], "much": ["scorer=semantic"]}
    ranks = {}
    for name, overrides in choices.items():
        config = prepared(plan_of(method, f"backbone={backbone}", *overrides))
        pl.seed_everything(config.seed, verbose=False)
        datamodule, model, _ = build_parts(config, {})
        ranks[name] = model.eval().answer_ranks(next(iter(datamodule.val_dataloader())))["full"]
    assert torch.equal(ranks["zero"], ranks["without"])
    assert ranks["much"].float().mean() < ranks["without"].float().mean(), (
        "an untrained model, but titles tell the kinds"
    )


def test_smem_trains_three_experts_at_once_and_scores_by_their_gated_sum(plan_of: MakePlan) -> None:
    """``sum_e g_e <h_e, v_e(i)>``, g the same for every item, by hand from the states and vectors of each expert."""
    plan = plan_of("smem", "item_encoder.gate.starts={id:1.0,aligned:0.2,text:-0.5}")
    assert not plan.stages, "no earlier run, no alignment"
    model, _ = first_step(plan)
    for name in ("aligned", "id", "text"):
        for part in ("item_encoder", "sequence_encoder"):
            expert = [p.grad for n, p in model.named_parameters() if n.startswith(f"{part}.experts.{name}.")]
            assert any(gradient is not None and gradient.any() for gradient in expert), f"{part} of {name}"
    model.eval()
    items = torch.tensor([[0, 0, 3, 9], [1, 2, 40, 7]])
    with torch.no_grad():
        states = model.states(items)
        views = model.item_encoder.views(torch.arange(1, model.item_encoder.n_items + 1))
        sigma = torch.tensor([0.2, 1.0, -0.5]).sigmoid()  # aligned, id, text
        expected, start = torch.zeros(2, model.item_encoder.n_items), 0
        for share, name in zip(sigma / sigma.sum(), ("aligned", "id", "text"), strict=True):
            width = views[name].shape[-1]
            expected += share * (states[:, start : start + width] @ views[name].T)
            start += width
        scores = states @ model.item_encoder.output(views).T
    torch.testing.assert_close(scores, expected)
    assert start == states.shape[1]
