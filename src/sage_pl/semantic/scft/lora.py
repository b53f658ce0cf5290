"""Low-rank adapters of a text encoder: added, saved without local paths, and loaded elsewhere."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sage_pl.errors import SettingError
from sage_pl.ranges import Dropout, Width
from sage_pl.semantic.language_models.loading import ModelError

if TYPE_CHECKING:
    from peft import LoraConfig
    from torch import Tensor, nn

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
REPORT = "scft.json"  # settings and numbers of the tuning, beside the adapters
PREFIX = "base_model.model."  # of the weights' names in a file
POOLER = r".*pooler.*"  # layers that no pooling reads
INSTALL = "pip install peft==0.21.2"


@dataclass(frozen=True)
class Lora:
    """``W x + (alpha / r) B A x`` in place of ``W x``: A and B are trained, W is frozen; B starts at zero.

    Args:
        r: rank.
        alpha: numerator of the factor.
        dropout: of the input of A.
        targets: names of the linear layers, or ``all-linear`` for all but poolers: in LLaMA-like models the projections q, k,
            v, o, gate, up and down of every layer.

    Raises:
        ValueError: rank or dropout is out of range.

    Reference: LLMEmb code (r 8, alpha 32, dropout 0.1, all seven projections).
    """

    r: Width = 8
    alpha: Width = 32
    dropout: Dropout = 0.1
    targets: str | tuple[str, ...] = "all-linear"

    def __post_init__(self) -> None:
        if not isinstance(self.targets, str):
            object.__setattr__(self, "targets", tuple(self.targets))
        if self.r < 1 or not 0 <= self.dropout < 1:
            problem = f"steps.scft.lora has r={self.r} and dropout={self.dropout}"
            raise SettingError(f"{problem}, wanted r from 1 and dropout within [0, 1)")

    def add_to(self, model: nn.Module) -> LoraConfig:
        """Freeze the model and add trainable float32 adapters; returns their description.

        Raises:
            ModelError: peft is missing, or the model has no layer of these names.
        """
        require_peft()
        from peft import LoraConfig

        config = LoraConfig(
            task_type="FEATURE_EXTRACTION",
            r=self.r,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=self.targets if isinstance(self.targets, str) else list(self.targets),
            exclude_modules=POOLER if any("pooler" in name for name, _ in model.named_modules()) else None,
        )
        model.requires_grad_(False)
        _inject(config, model)
        return config


def save_adapter(model: nn.Module, config: LoraConfig, base: str, out: Path) -> None:
    """Write the adapters of ``model`` in peft's format; ``base`` names their base model."""
    from safetensors.torch import save_file

    weights = {PREFIX + name: tensor.detach().cpu().contiguous() for name, tensor in _weights(model).items()}
    save_file(weights, out / WEIGHTS)
    content = {**config.to_dict(), "base_model_name_or_path": base, "inference_mode": True}
    (out / CONFIG).write_text(json.dumps(content, indent=2, sort_keys=True, default=_plain))


def load_adapter(model: nn.Module, folder: Path) -> None:
    """Add the adapters saved in ``folder`` to their base model.

    Raises:
        ModelError: peft is missing, or the adapters do not fit the model.
    """
    require_peft()
    from peft import LoraConfig, set_peft_model_state_dict
    from safetensors.torch import load_file

    content = json.loads((folder / CONFIG).read_text())
    model.requires_grad_(False)
    try:
        _inject(LoraConfig(**content), model)
        weights = {name.removeprefix(PREFIX): tensor for name, tensor in load_file(folder / WEIGHTS).items()}
        result: Any = set_peft_model_state_dict(model, weights)
        missing = _weights(model).keys() - weights.keys()
    except (RuntimeError, ModelError) as error:
        raise _misfit(content, str(error)) from error
    if result.unexpected_keys or missing:
        raise _misfit(content, f"{len(result.unexpected_keys)} weights too many, {len(missing)} too few")


def require_peft() -> None:
    """Raise ModelError with the install command where peft is missing."""
    if importlib.util.find_spec("peft") is None:
        raise ModelError(f"tuning a text encoder, and using a tuned one, needs the package peft: {INSTALL}")


def _inject(config: LoraConfig, model: nn.Module) -> None:
    from peft import inject_adapter_in_model

    try:
        inject_adapter_in_model(config, model)
    except ValueError as error:
        message = f"cannot add adapters; set steps.scft.lora.targets to other layers; peft's error: {error}"
        raise ModelError(message) from error
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """The adapters' weights, without peft's default look-up of the base model's vocabulary on the hub."""
    from peft import get_peft_model_state_dict

    return get_peft_model_state_dict(model, save_embedding_layers=False)


def _misfit(content: dict[str, Any], reason: str) -> ModelError:
    return ModelError(
        f"the tuned adapters belong to the text model {content.get('base_model_name_or_path')!r} and do not fit the one "
        f"given; name theirs with steps.embed.model=NAME or FOLDER; the loader's error: {reason}"
    )


def _plain(value: Any) -> Any:
    """Sets as sorted lists, all else as text."""
    return sorted(value) if isinstance(value, Sequence | set | frozenset) else str(value)
