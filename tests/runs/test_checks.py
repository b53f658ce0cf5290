from typing import Any

import pytest
from omegaconf import OmegaConf

from sage_pl.runs import checks
from sage_pl.runs.checks import ConfigError
from tests.planned import check_targets

ADAM = {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.1}
SASREC = "sage_pl.nn.backbones.sasrec.SASRec"
TERM = "sage_pl.nn.losses"


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "builtins.exec",
        "subprocess.Popen",
        "pickle.loads",
        "torch.load",
        "torch.hub.load",
        "hydra.utils.instantiate",
        "hydra.utils.get_method",
        "sage_pl_evil.Thing",
        "torch.nnet.Thing",
        "${oc.env:HOME}",
        "",
        7,
        None,
        ["sage_pl.types.real"],
        "pytorch_lightning.os.system",
        "pytorch_lightning.cli.LightningCLI",
        "pytorch_lightning.LightningModule.load_from_checkpoint",
    ],
    ids=str,
)
def test_a_target_outside_the_allowed_packages_is_refused(target: Any) -> None:
    with pytest.raises(ConfigError, match=r"part\._target_ is .*; allowed are names that begin with sage_pl\., "):
        check_targets({"part": {"_target_": target}})


@pytest.mark.parametrize(
    "target",
    [
        "pytorch_lightning.callbacks.model_checkpoint.os.system",
        "pytorch_lightning.loggers.csv_logs.os.remove",
        "sage_pl.runs.launch.subprocess.Popen",
        "sage_pl.runs.checks.get_object",
        "sage_pl.artifacts.store.os.remove",
        "sage_pl.artifacts.store.shutil.rmtree",
        "sage_pl.artifacts.store.FileLock",
        "torch.nn.modules.module.torch.load",
        "torch.nn.functional.importlib.import_module",
        "torch.nn.modules.module.functools.partial",
        "torch.nn.Module.__init__.__globals__.get",
        "torch.nn.Module.__class__.__base__.__subclasses__",
        "torch.nn.os",
        "torch.nn.functional",
        "sage_pl.types",
        "sage_pl.types.PADDING",
        "sage_pl.runs.plan._PENDING.match",
    ],
)
def test_no_way_out_of_the_allowed_packages_through_their_attributes(target: str) -> None:
    with pytest.raises(ConfigError, match=r"part\._target_ '.*' (leads to .* lives outside|cannot be imported|is a )"):
        check_targets({"part": {"_target_": target}})


@pytest.mark.parametrize(
    "target",
    [
        "sage_pl.commands.train.train",
        "sage_pl.types.real",
        "pytorch_lightning.callbacks.ModelCheckpoint.setup",
        "torch.nn.Module.load_state_dict",
    ],
)
def test_functions_are_no_parts(target: str) -> None:
    with pytest.raises(ConfigError, match="parts are classes"):
        check_targets({"part": {"_target_": target, "config": 1}})


@pytest.mark.parametrize("target", ["sage_pl.types.SeqBatch"])
def test_a_class_without_a_signature_is_no_part(target: str) -> None:
    with pytest.raises(ConfigError, match="it cannot be called with named arguments"):
        check_targets({"part": {"_target_": target}})


@pytest.mark.parametrize(
    ("config", "path"),
    [
        pytest.param({"a": {"b": {"_target_": "os.system"}}}, "a.b", id="in a mapping"),
        pytest.param({"a": [1, {"_target_": "os.system"}]}, r"a\[1\]", id="in a list"),
        pytest.param({"a": [[{"_target_": "os.system"}]]}, r"a\[0\]\[0\]", id="in a list of lists"),
        pytest.param({"a": {**ADAM, "lr": {"_target_": "os.system"}}}, "a.lr", id="below an allowed one"),
        pytest.param(
            {"a": {**ADAM, "betas": [{"_target_": "os.system"}]}}, r"a.betas\[0\]", id="in a list below an allowed one"
        ),
    ],
)
@pytest.mark.parametrize("wrap", [dict, OmegaConf.create], ids=["plain", "omegaconf"])
def test_targets_are_found_wherever_they_hide(config: dict[str, Any], path: str, wrap: Any) -> None:
    with pytest.raises(ConfigError, match=rf"{path}\._target_ is 'os.system'"):
        check_targets(wrap(config))


@pytest.mark.parametrize(
    ("node", "message"),
    [
        pytest.param(
            {"_target_": SASREC, "dims": 8}, "unexpected keyword argument 'dims'.*it takes dim, max_len", id="extra"
        ),
        pytest.param(
            {"_target_": f"{TERM}.alignment.Alignment"},
            "missing a required argument: 'weight'.*it takes weight",
            id="missing",
        ),
        pytest.param({**ADAM, "rate": 1}, "unexpected keyword argument 'rate'", id="extra in a partial"),
        pytest.param(
            {"_target_": SASREC, "_args_": [8]}, r"positional arguments \(_args_\); name them", id="positional"
        ),
        pytest.param({"_target_": "sage_pl.nn.backbones.sasrec.SASRek"}, "cannot be imported", id="misspelt class"),
        pytest.param({"_target_": "sage_pl.nowhere.Part"}, "cannot be imported", id="misspelt module"),
    ],
)
def test_what_could_not_be_called_is_refused(node: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"part.*{message}"):
        check_targets({"part": node})


def test_every_problem_is_listed_at_once() -> None:
    parts = {
        "one": {"_target_": "os.system"},
        "two": {"_target_": SASREC, "dims": 8},
        "three": {**ADAM},
        "four": [{"_target_": ""}],
    }
    with pytest.raises(ConfigError) as caught:
        check_targets(parts)
    lines = str(caught.value).splitlines()
    assert lines[0] == "the configuration cannot be run:"
    assert [line.split()[0].partition("._")[0] for line in lines[1:]] == ["one", "two", "four[0]"]


def test_what_can_be_called_passes() -> None:
    check_targets({"a": ADAM, "b": [{"_target_": SASREC, "dim": 8, "_convert_": "all"}], "c": {"d": 1}, "e": None})


def test_a_partial_may_leave_arguments_for_later() -> None:
    check_targets({"optimizer": ADAM})
    with pytest.raises(ConfigError, match="missing a required argument: 'params'"):
        check_targets({"optimizer": {**ADAM, "_partial_": False}})


def test_what_a_batch_lacks_is_named() -> None:
    checks.check_needs(frozenset({"items"}), frozenset({"items", "user"}))
    with pytest.raises(
        ConfigError, match=r"the losses read neighbours from a batch, which holds items, user; add .*data.extras"
    ):
        checks.check_needs(frozenset({"items", "neighbours"}), frozenset({"items", "user"}))
