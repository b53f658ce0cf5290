"""Foreign files: no code of theirs runs, nothing of the environment is read or sent, nothing is written elsewhere.

A case writes a file of another's making and hands it to a real command. Canaries: a file that only executed code makes, a
server on this machine that counts requests, a secret in the environment, and a folder that no command names.
"""

from __future__ import annotations

import copy
import http.server
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from tests.campaign import payloads
from tests.campaign.bench import Bench, Case, Outcome, Verdict
from tests.campaign.payloads import SECRET, VARIABLE

LIMITS = {"RLIMIT_AS": 16 * 2**30}
SLOW = 12.0  # seconds of a command that should refuse at once, on a busy core
COMMANDS = ("evaluate", "recommend", "export", "resume")


class Range:
    """A trained run, its checkpoint, its exported folder, and the canaries."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.canary, self.elsewhere = bench.folder / "canary", bench.folder / "elsewhere"
        self.requests: list[str] = []

    @cached_property
    def run(self) -> Path:
        outputs = self.bench.folder / "out"
        method = ["method=llm_init", "backbone=gru4rec", f"hydra.run.dir={outputs}/run"]
        done = self.bench.command("train", *self.bench.settings(outputs), *method)
        if done.code:
            raise RuntimeError(done.out + done.err)
        return outputs / "run"

    @cached_property
    def exported(self) -> Path:
        folder = self.bench.folder / "exported"
        self.bench.command("export", f"checkpoint={self.run}/checkpoints/best.ckpt", f"folder={folder}")
        return folder

    @cached_property
    def content(self) -> dict[str, Any]:
        content: dict[str, Any] = torch.load(self.run / "checkpoints" / "last.ckpt", weights_only=True)
        return content

    @cached_property
    def address(self) -> str:
        requests = self.requests

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self) -> None:
                requests.append(self.path)
                self.send_response(404)
                self.end_headers()

            do_GET = do_POST = do_HEAD = do_PUT = answer  # noqa: N815  names of the library

            def log_message(self, *_: Any) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    def command(self, name: str, file: Path, *more: str, code: str | None = None) -> Outcome:
        """A command of a checkpoint, a run folder or an exported folder."""
        place = self.bench.new_folder()
        arguments = {
            "evaluate": [f"checkpoint={file}"],
            "recommend": [f"checkpoint={file}", "users=[u1]"],
            "export": [f"checkpoint={file}", f"folder={place}/exported"],
            "resume": [f"resume={file}", "trainer.max_epochs=3", "report=null", f"hydra.run.dir={place}/run"],
            "report": [f"run={file}", "maps=false"],
            "comparison": [f"comparison={file}", "maps=false"],
            "compare": [f"runs={file}", "baseline=popularity", "report=null"],
            "python": [],
        }[name]
        script = {"resume": "train", "comparison": "report", "python": "train"}.get(name, name)
        env = {VARIABLE: SECRET, "HF_ENDPOINT": self.address, "HF_HUB_DISABLE_TELEMETRY": "1"}
        env |= {"WANDB_MODE": "online", "WANDB_BASE_URL": self.address, "WANDB_API_KEY": "c" * 40}
        return self.bench.command(script, *arguments, *more, cwd=place, env=env, limits=LIMITS, code=code, timeout=60)

    def judge(self, action: Callable[[], Outcome], refused: bool = True) -> Verdict:
        """What an outcome and the canaries say; ``refused``: success would be wrong."""
        del self.requests[:]
        outcome = action()
        if self.canary.exists():
            self.canary.unlink()
            return "code run"
        if self.requests or SECRET in outcome.out + outcome.err:
            return "secret sent"
        if self.elsewhere.exists():
            shutil.rmtree(self.elsewhere)
            return "half file used"
        if outcome.verdict == "held" and outcome.seconds > SLOW:
            return "hang"
        return "wrong result" if outcome.verdict == "held" and refused and outcome.code == 0 else outcome.verdict

    def checkpoint(self, change: Callable[[dict[str, Any]], object], fresh: bool = False) -> Path:
        """A checkpoint with a changed recipe; ``fresh``: none of its artifacts is there."""
        content = copy.deepcopy(self.content)
        recipe = content["sage_pl"]["config"]
        if fresh:
            recipe["paths"]["artifacts"] = str(self.bench.new_folder("cache"))
        change(recipe)
        content["sage_pl"]["begun_with"] = copy.deepcopy(recipe)
        file = self.bench.new_folder("foreign") / "last.ckpt"
        torch.save(content, file)
        return file

    def run_folder(self, change: Callable[[Path], object]) -> Path:
        """A copy of the run's folder, changed."""
        folder = self.bench.new_folder("run") / "copy"
        shutil.copytree(self.run, folder)
        change(folder)
        return folder


def cases(bench: Bench) -> Iterator[Case]:
    """About 500 cases: entrances x payloads."""
    place = Range(bench)
    yield from _references(place)
    yield from _classes(place)
    yield from _no_checkpoints(place)
    yield from _services(place)
    yield from _places(place)
    yield from _bombs(place)
    yield from _records(place)


def _case(
    place: Range, command: str, make: Callable[[], Path], *more: str, refused: bool = True
) -> Callable[[], Verdict]:
    def case() -> Verdict:
        file = make()
        if command == "load":
            code = f"from sage_pl import serving\nserving.load({str(file)!r})"
            return place.judge(lambda: _only_user_errors(place.command("python", file, code=code)), refused)
        return place.judge(lambda: place.command(command, file, *more), refused)

    return case


def _only_user_errors(outcome: Outcome) -> Outcome:
    """A library raises; its own errors are sentences."""
    raised = re.findall(
        r"^[\w.]*?(\w+)(?:: |$)", outcome.err, re.MULTILINE
    )  # the last line without indent names the error
    named = {"ConfigError", "PlainError", "MissingFileError", "UnsafePickleError"} & set(raised)
    return Outcome(1, outcome.cut, outcome.seconds, outcome.out, "refused") if named and outcome.code == 1 else outcome


def _references(place: Range) -> Iterator[Case]:
    spots: dict[str, Callable[[dict[str, Any], str], object]] = {
        "value": lambda recipe, text: recipe["model"].update(sequence_encoder=text),
        "list": lambda recipe, text: recipe["model"].update(targets=[[text]]),
        "key": lambda recipe, text: recipe["model"].update({text: 1}),
    }
    for name, text in payloads.references(place.canary).items():
        for spot, put in spots.items():
            change = partial(lambda put, text, recipe: put(recipe, text), put, text)
            for command in COMMANDS if spot == "value" else ("evaluate",):
                make = partial(place.checkpoint, change)
                yield f"{name} as a {spot}, {command}", _case(place, command, make)
            make = partial(_exported, place, change)
            yield f"{name} as a {spot}, load", _case(place, "load", make)
        write = partial(_change_config, lambda config, text=text: config["model"].update(sequence_encoder=text))
        for command in ("report", "compare"):
            make = partial(place.run_folder, write)
            yield f"{name}, {command}", _case(place, command, make, refused=False)
        quoted = text.replace("'", "\\'")
        override = f"+overrides.dropout='{quoted}'"
        make = partial(place.checkpoint, lambda recipe: None)
        yield f"{name}, an override", _case(place, "evaluate", make, override)


def _exported(place: Range, change: Callable[[dict[str, Any]], object]) -> Path:
    folder = place.bench.new_folder("exported") / "copy"
    shutil.copytree(place.exported, folder)
    node = json.loads((folder / "model.json").read_text())
    node.pop("manifest", None)  # a stranger writes hashes that fit, or none
    (folder / "manifest.json").unlink(missing_ok=True)
    change({"model": node})
    (folder / "model.json").write_text(json.dumps(node))
    return folder


def _change_config(change: Callable[[dict[str, Any]], object], folder: Path) -> None:
    import yaml

    config = yaml.safe_load((folder / "config.yaml").read_text())
    change(config)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def _classes(place: Range) -> Iterator[Case]:
    for name, node in payloads.classes(place.canary).items():
        change = partial(lambda node, recipe: recipe["model"].update(targets=node), node)
        for command in COMMANDS:
            yield f"{name}, {command}", _case(place, command, partial(place.checkpoint, change))
        yield f"{name}, load", _case(place, "load", partial(_exported, place, change))
        make = partial(place.run_folder, partial(_change_config, change))
        yield f"{name}, report", _case(place, "report", make, refused=False)


def _no_checkpoints(place: Range) -> Iterator[Case]:
    names = payloads.checkpoints({"sage_pl": {"config": {}}, "state_dict": {}})

    def make(name: str) -> Path:
        file = place.bench.new_folder("foreign") / "last.ckpt"
        payloads.checkpoints(place.content)[name](file)
        return file

    def into(name: str, folder: Path) -> None:
        file = folder / "checkpoints" / "best.ckpt"
        file.unlink()
        payloads.checkpoints(place.content)[name](file)

    for name in names:
        for command in COMMANDS:
            yield f"checkpoint: {name}, {command}", _case(place, command, partial(make, name))
        folder = partial(place.run_folder, partial(into, name))
        yield f"checkpoint: {name}, report", _case(place, "report", folder, refused=False)
    for name in payloads.recipes({}):

        def change(recipe: dict[str, Any], name: str = name) -> None:
            other = payloads.recipes(dict(recipe))[name]
            recipe.clear()
            recipe.update(other)

        # a recipe without what a command does not need may be used
        yield f"recipe: {name}", _case(place, "evaluate", partial(place.checkpoint, change), refused=False)


def _services(place: Range) -> Iterator[Case]:
    loading = "sage_pl.semantic.embedders"
    steps = {
        "a service": {"_target_": f"{loading}.openai.OpenAIEmbedder", "api_key_env": VARIABLE, "max_retries": 0},
        "a model": {"_target_": f"{loading}.sentence.SentenceEmbedder", "model": "evil/model"},
        "a decoder": {"_target_": f"{loading}.said.SaidEmbedder", "model": "evil/model"},
    }
    for name, node in steps.items():

        def change(recipe: dict[str, Any], node: dict[str, Any] = node) -> None:
            url = {"base_url": f"{place.address}/v1"} if "api_key_env" in node else {}
            recipe["steps"]["embed"] = {**node, **url}

        for command in COMMANDS:
            make = partial(place.checkpoint, change, fresh=True)
            yield f"{name}, {command}", _case(place, command, make)

    def allowed() -> Verdict:
        file = place.checkpoint(
            partial(_set, "steps.embed", {**steps["a service"], "base_url": place.address}), fresh=True
        )
        outcome = place.command("evaluate", file, "allow_host=127.0.0.1")
        return outcome.verdict if place.requests else "wrong result"

    yield "a service that the command line allows", allowed
    loggers = {
        "W&B": {"_target_": "sage_pl.training.loggers.wandb_run.WandbRun", "run_dir": "${run_dir}", "project": "x"},
        "Lightning's W&B": {"_target_": "pytorch_lightning.loggers.WandbLogger", "save_dir": "${run_dir}"},
        "MLflow": {"_target_": "pytorch_lightning.loggers.MLFlowLogger"},
    }
    for name, node in loggers.items():

        def add(recipe: dict[str, Any], node: dict[str, Any] = node) -> None:
            url = {"tracking_uri": place.address} if "MLFlow" in str(node) else {}
            recipe["logger"]["other"] = {**node, **url}

        yield f"{name}, resume", _case(place, "resume", partial(place.checkpoint, add))


def _places(place: Range) -> Iterator[Case]:
    out = str(place.elsewhere)
    changes: dict[str, Callable[[dict[str, Any]], object]] = {
        "paths.artifacts": lambda recipe: recipe["paths"].update(artifacts=out),
        "paths.outputs": lambda recipe: recipe["paths"].update(outputs=out, artifacts="${paths.outputs}/artifacts"),
        "run_dir": lambda recipe: recipe.update(run_dir=out),
        "dirpath": lambda recipe: recipe["callbacks"]["last"].update(dirpath=f"{out}/checkpoints"),
        "dirpath ..": lambda recipe: recipe["callbacks"]["last"].update(dirpath="${run_dir}/../../elsewhere"),
        "filename": lambda recipe: recipe["callbacks"]["last"].update(filename=f"../../../elsewhere/{'x'}"),
        "footprint": lambda recipe: recipe["callbacks"]["footprint"].update(folder=out),
        "logger": lambda recipe: recipe["logger"]["csv"].update(save_dir=out),
        "logger's version": lambda recipe: recipe["logger"]["csv"].update(version="../../elsewhere"),
        "default_root_dir": lambda recipe: recipe["trainer"].update(default_root_dir=out),
        "profiler": lambda recipe: recipe["trainer"].update(
            profiler={"_target_": "pytorch_lightning.profilers.SimpleProfiler", "dirpath": out, "filename": "x"}
        ),
        "search": lambda recipe: recipe["callbacks"].update(
            pruning={
                "_target_": "sage_pl.training.callbacks.pruning.Pruning",
                **{"storage": f"sqlite:///{out}.db", "study": "x", "trial": 0, "monitor": "val/full/ndcg@10"},
            }
        ),
    }
    for name, change in changes.items():
        for command in COMMANDS:
            make = partial(place.checkpoint, change, fresh=True)
            yield f"{name}, {command}", _case(place, command, make, refused=False)


def _bombs(place: Range) -> Iterator[Case]:
    for name, content in payloads.PICKLES.items():
        file = place.bench.folder / "bomb.pkl"
        code = f"from sage_pl.data.plain_pickle import read_plain_pickle\nread_plain_pickle({str(file)!r})"

        def case(file: Path = file, content: bytes = content, code: str = code) -> Verdict:
            file.write_bytes(content)
            limits = {"RLIMIT_AS": 8 * 2**30}
            run = partial(place.bench.command, "train", code=code, limits=limits, timeout=20)
            return place.judge(lambda: _only_user_errors(run()), refused=False)

        yield f"pickle: {name}", case
    for name, text in payloads.YAMLS.items():
        for command in ("report", "compare"):
            write = partial(lambda text, folder: (folder / "config.yaml").write_text(text), text)
            yield f"YAML: {name}, {command}", _case(place, command, partial(place.run_folder, write))
    for name, text in payloads.JSONS.items():
        for command, file_name in (("compare", "metrics.json"), ("comparison", "comparison.json")):
            put = partial(lambda text, file_name, folder: (folder / file_name).write_text(text), text, file_name)
            yield f"JSON: {name}, {command}", _case(place, command, partial(place.run_folder, put))

        def exported(text: str = text) -> Path:
            folder = _exported(place, lambda recipe: None)
            (folder / "model.json").write_text(text)
            return folder

        yield f"JSON: {name}, load", _case(place, "load", exported)
    for key in (
        "seed",
        "evaluation",
        "evaluation.groups",
        "artifacts",
        "choices",
        "dataset",
        "catalog",
        "model",
        "data",
    ):
        for value in ([1], "x"):
            change = partial(_set, key, value)
            for command in ("report", "compare"):
                make = partial(place.run_folder, partial(_change_config, change))
                yield f"{key} is {value!r}, {command}", _case(place, command, make, refused=False)


def _set(key: str, value: Any, config: dict[str, Any]) -> None:
    *parents, leaf = key.split(".")
    for parent in parents:
        config = config[parent]
    config[leaf] = value


def _records(place: Range) -> Iterator[Case]:
    """What a user's own configuration reads from the environment is in no file of the run."""
    own = f"'${{oc.env:{VARIABLE}}}'"
    settings = {
        "W&B": ["logger=wandb", f"+note={own}"],
        "the data set's name": [f"dataset.name={own}"],
        "a text of a step": [f"dataset.name=x{own[1:-1]}", "report=quick"],
        "an address": [
            "embedder=openai",
            "steps.embed.max_retries=1",
            f"steps.embed.base_url=http://127.0.0.1:9/${{oc.env:{VARIABLE}}}",
        ],
    }
    for name, overrides in settings.items():

        def case(overrides: list[str] = overrides) -> Verdict:
            outputs = place.bench.new_folder("own")
            small = [
                one for one in place.bench.settings(outputs) if "embed" not in one or "openai" not in str(overrides)
            ]
            command = [*small, "method=llm_init", "backbone=gru4rec", *overrides]
            outcome = place.bench.command("train", *command, env={VARIABLE: SECRET, "OPENAI_API_KEY": "x"}, timeout=90)
            files = [file for file in outputs.rglob("*") if file.is_file() and SECRET.encode() in file.read_bytes()]
            return "secret sent" if files or SECRET in outcome.out + outcome.err else outcome.verdict

        yield f"recorded: {name}", case
