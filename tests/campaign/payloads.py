"""What the family ``hostile`` puts into files: references, classes, damaged checkpoints, and small files that unfold."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

SECRET = "canary-secret-7f3a91c2d4e5"
VARIABLE = "CANARY_SECRET"


def references(canary: Path) -> dict[str, str]:
    """Texts that a resolver would turn into a call or into a value of the environment."""
    call = f"{{_target_: os.system, command: touch {canary}}}"
    return {
        "oc.create": f"${{oc.create:{call}}}",
        "oc.create of a text": f"${{oc.create:'{call}'}}",
        "escaped": f"\\${{oc.create:{call}}}",
        "twice escaped": f"\\\\\\${{oc.create:{call}}}",
        "nested": f"${{oc.create:{{a: {call}}}}}",
        "oc.env": f"${{oc.env:{VARIABLE}}}",
        "oc.env within": f"a${{oc.env:{VARIABLE}}}b",
        "oc.env with spaces": f"${{ oc.env : {VARIABLE} }}",
        "oc.env as default": f"${{oc.select:nowhere,${{oc.env:{VARIABLE}}}}}",
        "oc.env of a reference": f"${{oc.env:{VARIABLE},${{seed}}}}",
        "oc.decode": f"${{oc.decode:${{oc.env:{VARIABLE}}}}}",
        "oc.deprecated": "${oc.deprecated:seed}",
        "oc.dict.values": "${oc.dict.values:paths}",
        "of no name": "${custom:1}",
        "a name by reference": f"${{oc.${{role}}:{VARIABLE}}}",
        "not closed": f"${{oc.env:{VARIABLE}",
    }


def classes(canary: Path) -> dict[str, dict[str, Any]]:
    """Nodes that name what is no part."""
    touch, file = f"touch {canary}", str(canary)
    return {
        "os.system": {"_target_": "os.system", "command": touch},
        "positional": {"_target_": "os.system", "_args_": [touch]},
        "positional part": {"_target_": "sage_pl.data.targets.NextItem", "_args_": [touch]},
        "subprocess": {"_target_": "subprocess.check_call", "args": touch, "shell": True},
        "builtins.eval": {"_target_": "builtins.eval", "_args_": [f"open({file!r},'w')"]},
        "builtins.open": {"_target_": "builtins.open", "file": file, "mode": "w"},
        "pathlib": {"_target_": "pathlib.Path.touch", "self": file},
        "through a module": {"_target_": "sage_pl.runs.launch.subprocess.check_call", "args": ["touch", file]},
        "through lightning": {"_target_": "pytorch_lightning.loggers.csv_logs.os.mknod", "path": file},
        "through torch": {"_target_": "torch.nn.modules.module.torch.save", "obj": 1, "f": file},
        "instantiate": {"_target_": "hydra.utils.instantiate", "config": {"_target_": "os.system", "command": touch}},
        "partial": {"_target_": "os.system", "_partial_": True, "command": touch},
        "not recursive": {"_target_": "functools.partial", "_recursive_": False, "_args_": [{"_target_": "os.system"}]},
        "torch.hub": {"_target_": "torch.hub.load", "repo_or_dir": file, "model": "x", "source": "local"},
        "torch.load": {"_target_": "torch.load", "f": file, "weights_only": False},
        "joblib": {"_target_": "joblib.load", "filename": file},
        "a writer": {"_target_": "sage_pl.semantic.language_models.answers.Answers", "file": file},
        "a lock": {"_target_": "sage_pl.artifacts.store.FileLock", "lock_file": file},
        "a metric that downloads": {"_target_": "torchmetrics.text.BERTScore", "model_name_or_path": "evil/model"},
        "a list": {"_target_": ["os.system"]},
        "a number": {"_target_": 7},
        "a module": {"_target_": "sage_pl.types"},
        "a function": {"_target_": "sage_pl.commands.train.train", "config": {}},
        "unbound": {"_target_": "torch.nn.Linear", "in_features": "a", "out_features": []},
        "huge": {"_target_": "torch.nn.Linear", "in_features": 2**40, "out_features": 2**20},
    }


def checkpoints(content: dict[str, Any]) -> dict[str, Callable[[Path], object]]:
    """Writers of files that are no checkpoint of this project, from the content of one that is."""
    carried = content["sage_pl"]

    def saved(value: Any) -> Callable[[Path], object]:
        return lambda file: torch.save(value, file)

    def with_carried(**changes: Any) -> Callable[[Path], object]:
        return saved({**content, "sage_pl": {**carried, **changes}})

    def cut(file: Path) -> None:
        torch.save(content, file)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    shared: Any = [1]
    for _ in range(30):
        shared = [shared] * 4
    deep: Any = 1
    for _ in range(300):
        deep = {"a": deep}
    lightning = {key: content[key] for key in content if key != "sage_pl"}
    return {
        "of Lightning alone": saved(lightning),
        "cut off": cut,
        "empty": lambda file: file.write_bytes(b""),
        "a folder": lambda file: file.mkdir(),
        "absent": lambda file: None,
        "text": lambda file: file.write_text("no checkpoint\n"),
        "a pickle": lambda file: file.write_bytes(pickle.dumps({"state_dict": {}})),
        "a list": saved([1, 2]),
        "a tensor": saved(torch.zeros(3)),
        "no state_dict": saved({"sage_pl": carried}),
        "no config": saved({**content, "sage_pl": {"artifact_keys": {}}}),
        "no keys": saved({**content, "sage_pl": {"config": carried["config"]}}),
        "config is a list": with_carried(config=[1]),
        "config is text": with_carried(config="x"),
        "config is empty": with_carried(config={}),
        "names are numbers": with_carried(config={1: 2}),
        "begun_with is a list": with_carried(begun_with=[1]),
        "keys are a list": with_carried(artifact_keys=["a"]),
        "keys lead out": with_carried(artifact_keys={"sequences": "../../x"}),
        "state_dict holds texts": saved({**content, "state_dict": dict.fromkeys(content["state_dict"], "x")}),
        "state_dict is a list": saved({**content, "state_dict": [1]}),
        "shared lists": with_carried(config={**carried["config"], "more": shared}),
        "deep": with_carried(config={**carried["config"], "more": deep}),
    }


def recipes(recipe: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Recipes with one part absent, and with one of a wrong kind."""
    names = ("steps", "model", "data", "loss", "paths", "trainer", "evaluation", "dataset", "artifacts", "catalog")
    absent = {f"no {name}": {key: value for key, value in recipe.items() if key != name} for name in names}
    texts = {f"{name} is a text": {**recipe, name: "x"} for name in names}
    lists = {f"{name} is a list": {**recipe, name: [1]} for name in names}
    return absent | texts | lists


def _shared(levels: int) -> bytes:
    text = b"\x80\x04]\x94"
    for level in range(levels):
        text += b"]\x94(" + (b"h" + bytes([level])) * 10 + b"e"
    return text + b"."


PICKLES = {
    "shared lists": _shared(9),
    "more shared lists": _shared(40),
    "a list of itself": b"\x80\x04]\x94h\x00a.",
    "deep lists": b"\x80\x04" + b"]" * 200_000 + b"a" * 199_999 + b".",
    "deep tuples": b"\x80\x04)" + b"\x85" * 300_000 + b".",
    "a deep key": b"\x80\x04})" + b"\x85" * 300_000 + b"K\x01s.",
    "a deep member": b"\x80\x04\x8f()" + b"\x85" * 300_000 + b"\x90.",
    "an index of the memo": b"\x80\x04]r\xff\xff\xff\x1f.",
    "a long as text": b"L" + b"9" * 2**22 + b"L\n.",
    "a long": b"\x80\x04\x8b" + (2**27).to_bytes(4, "little") + b"\x7f" * 2**27 + b".",
    "length of a long": b"\x80\x04\x8b\xff\xff\xff\x7f1.",
    "length of a text": b"\x80\x04\x8d" + (2**40).to_bytes(8, "little") + b"a.",
    "length of bytes": b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b"a.",
    "length of a frame": b"\x80\x04\x95" + (2**40).to_bytes(8, "little") + b"a.",
    "os.system": b"cos\nsystem\n(S'touch x'\ntR.",
    "an extension": b"\x80\x02\x82\x01.",
    "persistent": b"Pname\n.",
    "nothing": b"",
}
_LAUGHS = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]\n" for i in range(1, 12))
YAMLS = {
    "a billion laughs": "l0: &l0 [lol]\n" + _LAUGHS,
    "merged keys": "l0: &l0 {a: 1}\n" + _LAUGHS.replace("[", "{<<: [").replace("]", "]}"),
    "itself": "a: &a [*a]\n",
    "deep lists": "a: " + "[" * 100_000,
    "deep mappings": "a: " + "{b: " * 100_000,
    "deep items": "- " * 100_000 + "a",
    "a python object": "a: !!python/object/apply:os.system ['touch x']\n",
    "a number": f"a: {'9' * 100_000}\n",
    "a list": "[1, 2]\n",
    "no text": "\x00\x01",
}
JSONS = {
    "deep lists": "[" * 1_000_000,
    "deep objects": '{"a":' * 1_000_000,
    "many": "[" + ",".join("1" * 500_000) + "]",
    "a number": f'{{"a": {"9" * 100_000}}}',
    "a list": "[1, 2]",
    "cut off": '{"name": ',
    "empty": "",
}
