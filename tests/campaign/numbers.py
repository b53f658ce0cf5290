"""Numbers at and beyond the edges of their ranges: refused in words before anything is prepared, or used.

Most cases ask for the plan alone, all in one process; a wrong number that a plan accepts is a wrong result. The others run
whole commands, after which a refused one must have left no artifact.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from typing import get_args

from tests.campaign.bench import Bench, Case, Verdict

INTEGER = ("0", "-1", "0.5", "2.0", "true", "'8'", "[]", "1e30", str(2**63))
NUMBER = ("nan", "inf", "-inf", "true", "'0.5'", "text", "[]", "-0.5", "1e30")
SAGE, SAM, TIGER, PAD = "method=sage", "method=sam", "method=tiger", "method=pad"
WRONG = {  # key -> the settings that bring it, and values that it cannot have
    "dim": ("", (*INTEGER, "null")),
    "seed": ("", ("-1", "0.5", "text", str(2**32), "null")),
    "dropout": ("", (*NUMBER, "1", "null")),
    "backbone.heads": ("", (*INTEGER, "3", "16", str(2**31))),
    "backbone.layers": ("", (*INTEGER, "null")),
    "backbone.dropout": ("backbone=gru4rec", NUMBER),
    "backbone.alpha": ("backbone=bsarec", (*NUMBER, "1.5")),
    "backbone.cutoff": ("backbone=bsarec", INTEGER),
    "backbone.window": ("backbone=caser", INTEGER),
    "backbone.horizontal": ("backbone=caser", INTEGER),
    "sequence_encoder.extractor.iterations": ("method=mind", INTEGER),
    "sequence_encoder.attention_dropout": ("method=stosa", (*NUMBER, "1")),
    "loss.terms.item_branch.tail": ("method=melt", ("0", "1", *NUMBER)),
    "loss.terms.user_branch.epochs": ("method=melt", INTEGER),
    "loss.terms.interest_alignment.typical": ("method=eimf", ("0", "1.5", *NUMBER)),
    "data.max_len": ("", INTEGER),
    "data.batch_size": ("", (*INTEGER, "null")),
    "data.eval_batch_size": ("", INTEGER),
    "data.length_block": ("", INTEGER),
    "data.num_workers": ("", ("-1", "0.5", "true", str(2**31))),
    "data.extras.neighbours.k": (SAGE, INTEGER),
    "data.extras.neighbours.ratio": (SAGE, ("1", *NUMBER)),
    "evaluation.sampled": ("", INTEGER),
    "evaluation.seed": ("", ("-1", "0.5", "text")),
    "evaluation.ks": ("", ("[]", "[0]", "[5,-1]", "[5,0.5]", "[text]", "5", "null")),
    "evaluation.table_mb": ("", ("0", *NUMBER)),
    "dataset.ts_user": ("", INTEGER),
    "dataset.ts_item": ("", ("0", "-1", "0.5", "text")),
    "dataset.cluster.n_neighbors": (SAGE, (*INTEGER, "1")),
    "dataset.cluster.min_cluster_size": (SAGE, (*INTEGER, "1")),
    "dataset.cluster.min_samples": (SAGE, INTEGER),
    "steps.cluster.min_dist": (SAGE, (*NUMBER, "2")),
    "steps.cluster.exponent": (SAGE, NUMBER),
    "steps.reduce.dim": (SAGE, INTEGER),
    "steps.embed.dim": (SAGE, INTEGER),
    "steps.texts.max_chars": (SAGE, ("0", "-1", "0.5", "text")),
    "steps.retrieve.k": (SAGE, INTEGER),
    "loss.alpha": (SAGE, NUMBER),
    "loss.gamma": (SAGE, NUMBER),
    "loss.fuzzy_m": (SAGE, ("1", "0", *NUMBER)),
    "sequence_encoder.heads": (SAGE, (*INTEGER, "3")),
    "objective.negatives": ("objective=sampled_softmax", INTEGER),
    "objective.weight": ("objective=sampled_softmax", NUMBER),
    "targets.probability": ("backbone=bert4rec", ("0", "1.5", *NUMBER)),
    "optimizer.lr": ("", NUMBER),
    "optimizer.weight_decay": ("", NUMBER),
    "steps.groups.max_interests": (SAM, INTEGER),
    "steps.tokens.quantiser.levels": (TIGER, INTEGER),
    "steps.tokens.quantiser.codes": (TIGER, INTEGER),
    "item_encoder.gate.n_buckets": (PAD, ("0", "-1", "0.5", "text")),
    "split.valid": ("split=global_time", ("0", "1", "-0.5", "nan", "text")),
    "callbacks.early_stopping.patience": ("", ("-1", "0.5", "text", "nan")),
    "callbacks.gradient_norms.every_n_steps": ("", ("0", "-1", "0.5", "text")),
    "trainer.max_epochs": ("", ("0", "-2", "0.5", "text", "true", "1e30")),
    "trainer.check_val_every_n_epoch": ("", ("0", "-1", "3", "text", "0.5")),
    "trainer.gradient_clip_val": ("", ("-1", "nan", "text")),
    "trainer.log_every_n_steps": ("", ("-1", "0.5", "text")),
    "trainer.accelerator": ("", ("gpu", "text", "0")),
    "trainer.devices": ("", ("0", "-2", "text")),
    "trainer.precision": ("", ("0", "text")),
    "+trainer.limit_train_batches": ("", ("0", "-1", "1.5", "nan", "text")),
    "+trainer.limit_val_batches": ("", ("0", "-1", "1.5", "nan", "text")),
    "+trainer.limit_test_batches": ("", ("0", "-1", "1.5")),
}
RIGHT = [  # settings at the edge of what is right, each a whole run
    ("dropout=0",),
    ("dropout=-0.0",),
    ("dropout=1e-320",),
    ("optimizer.lr=1e-320",),
    ("optimizer.lr=1",),
    ("optimizer.weight_decay=0",),
    ("data.batch_size=1",),
    ("data.batch_size=2147483647",),
    ("data.max_len=1",),
    ("data.length_block=1",),
    ("data.length_block=2147483647",),
    ("seed=4294967295",),
    ("backbone.heads=8",),
    ("evaluation.ks=[1]",),
    ("evaluation.ks=[100]",),
    ("evaluation.sampled=1",),
    ("callbacks.early_stopping.patience=0",),
    ("callbacks.early_stopping=null",),
    ("callbacks.last=null",),
    ("callbacks.spectrum=null", "callbacks.gradient_norms=null", "callbacks.speed=null", "callbacks.epoch_lines=null"),
    ("callbacks.progress=null", "callbacks.validation_table=null", "callbacks.footprint=null"),
    ("logger=null",),
    ("+trainer.limit_val_batches=1",),
    ("+trainer.limit_val_batches=1.0",),
]
REFUSED = [  # whole runs
    ("dim=0",),
    ("backbone.heads=3",),
    ("callbacks=null",),
    ("callbacks.best=null",),
    ("trainer.max_epochs=0",),
    ("trainer.max_epochs=-1", "callbacks.early_stopping=null"),
    ("trainer.check_val_every_n_epoch=2",),
    ("trainer.accelerator=gpu",),
    ("+trainer.limit_val_batches=0",),
    ("+trainer.fast_dev_run=true",),
]
COMMANDS = [  # settings of the other commands, which are refused before a file is looked for
    ("recommend", "checkpoint=none", "users=all", "k=0"),
    ("recommend", "checkpoint=none", "users=all", "k=text"),
    ("recommend", "checkpoint=none", "users=all", "k=1.5"),
    ("recommend", "checkpoint=none", "users=all", "batch_size=-1"),
    ("compare", "runs=none", "resamples=0"),
    ("compare", "runs=none", "resamples=text"),
    ("compare", "runs=none", "seed=-1"),
    ("report", "run=none", "map_items=0"),
    ("report", "run=none", "examples=nan"),
    ("report", "run=none", "seed=text"),
]
PROBES = """
import json, sys
from hydra import compose, initialize_config_dir
from sage_pl.commands.door import config_dir
from sage_pl.errors import UserError
from sage_pl.runs.plan import make_plan, recipe_of
try:
    from sage_pl.runs.requirements import check_trainer
except ImportError:  # of a version without it
    check_trainer = None
cases, settings = json.loads(sys.argv[1])
answers = []
with initialize_config_dir(str(config_dir()), version_base="1.3"):
    for overrides in cases:
        try:
            config = compose("train", overrides=["run_dir=somewhere", "choices={}", *settings, *overrides])
            plan = make_plan(recipe_of(config))
            if check_trainer:
                check_trainer(plan.config)
            answers.append("wrong result")
        except UserError:
            answers.append("held")
        except Exception as error:
            answers.append("traceback")
print("ANSWERS" + json.dumps(answers))
"""


def cases(bench: Bench) -> Iterator[Case]:
    """A case per key and value, per whole run, and per command."""
    probes = [(key, value, extra) for key, (extra, values) in WRONG.items() for value in values]
    verdicts = functools.cache(lambda: _planned(bench, [_overrides(*probe) for probe in probes]))
    for number, (key, value, extra) in enumerate(probes):
        yield f"plan of {extra} {key}={value}", functools.partial(_nth, verdicts, number)
    for settings in RIGHT:
        yield f"run {' '.join(settings)}", functools.partial(_right, bench, settings)
    for settings in REFUSED:
        yield f"run {' '.join(settings)}", functools.partial(_refused, bench, "train", _run_of(bench, settings))
    for script, *words in COMMANDS:
        yield f"{script} {' '.join(words)}", functools.partial(_refused, bench, script, words)


def _overrides(key: str, value: str, extra: str) -> list[str]:
    return [extra or "method=plain", *(["method=plain"] if extra and "method" not in extra else []), f"{key}={value}"]


def _planned(bench: Bench, probes: list[list[str]]) -> list[Verdict]:
    settings = [one for one in bench.settings(bench.folder / "outputs") if one != "steps.embed.dim=12"]
    place = bench.new_folder("probes") / "probes.py"
    text = PROBES.replace("sys.argv[1]", repr(json.dumps([probes, settings])))
    outcome = bench.command("train", code=text, timeout=900, cwd=place.parent)
    _, found, answers = outcome.out.rpartition("ANSWERS")
    if not found:
        raise RuntimeError(outcome.err)
    verdicts: list[Verdict] = json.loads(answers.splitlines()[0])
    assert set(verdicts) <= set(get_args(Verdict))
    return verdicts


def _nth(verdicts: Callable[[], list[Verdict]], number: int) -> Verdict:
    return verdicts()[number]


def _run_of(bench: Bench, settings: tuple[str, ...]) -> list[str]:
    return [*bench.settings(bench.folder / "refused"), "method=plain", "trainer.max_epochs=1", *settings]


def _right(bench: Bench, settings: tuple[str, ...]) -> Verdict:
    """Trains and tests properly."""
    common = bench.settings(bench.folder / "outputs")
    outcome = bench.command("train", *common, "method=plain", "trainer.max_epochs=1", *settings)
    return "wrong result" if outcome.verdict == "held" and outcome.code else outcome.verdict


def _refused(bench: Bench, script: str, words: list[str]) -> Verdict:
    """Ends in words that name a wanted value, with nothing prepared."""
    outcome = bench.command(script, *words)
    if outcome.verdict != "held":
        return outcome.verdict
    prepared = (bench.folder / "refused" / "artifacts").is_dir()
    said = any(word in outcome.out + outcome.err for word in ("wanted", "trainer", "callbacks"))
    return "wrong result" if not outcome.code or prepared or not said else "held"
