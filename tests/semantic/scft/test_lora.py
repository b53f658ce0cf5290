import json
import shutil

import pytest
import torch

from sage_pl.semantic.language_models.loading import ModelError, language_model, load_encoder
from sage_pl.semantic.scft import lora as module
from sage_pl.semantic.scft.lora import CONFIG, WEIGHTS, Lora, load_adapter, save_adapter

TEXTS = ["name1 brand2 sort3", "name7"]


@torch.no_grad()
def adapted(folder: str, **settings):
    """An encoder whose adapters are not zero, and their description."""
    encoder = load_encoder(folder)
    config = Lora(r=2, **settings).add_to(language_model(encoder))
    torch.manual_seed(1)
    for name, parameter in encoder.named_parameters():
        if "lora_B" in name:
            parameter.normal_(std=0.3)
    return encoder.eval(), config


@pytest.mark.parametrize(("kind", "layers"), [("bert", 2 * 6), ("llama", 2 * 7)])
def test_all_linear_layers_but_the_pooler_are_adapted(kind, layers, request) -> None:
    encoder = load_encoder(request.getfixturevalue(kind))
    Lora().add_to(language_model(encoder))
    trained = [name for name, p in encoder.named_parameters() if p.requires_grad]
    assert len(trained) == 2 * layers
    assert all("lora_" in name for name in trained)
    assert not any("pooler" in name for name in trained)


def test_new_adapters_change_nothing(llama) -> None:
    encoder = load_encoder(llama)
    before = encoder.encode(TEXTS)
    Lora(dropout=0.5).add_to(language_model(encoder))
    assert (encoder.encode(TEXTS) == before).all()


def test_chosen_layers_alone_are_adapted(llama) -> None:
    encoder = load_encoder(llama)
    config = Lora(targets=["q_proj"]).add_to(language_model(encoder))
    assert sum(p.requires_grad for p in encoder.parameters()) == 4
    assert config.target_modules == {"q_proj"}
    with pytest.raises(ModelError, match=r"set steps\.scft\.lora\.targets to other layers"):
        Lora(targets=["no_such_layer"]).add_to(language_model(load_encoder(llama)))


def test_adapters_stay_float32_in_a_bfloat16_model(llama) -> None:
    encoder = load_encoder(llama, bf16=True)
    Lora().add_to(language_model(encoder))
    assert {p.dtype for p in encoder.parameters() if p.requires_grad} == {torch.float32}


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_saved_adapters_give_the_same_vectors_in_another_folder(kind, request, tmp_path) -> None:
    base = request.getfixturevalue(kind)
    encoder, config = adapted(base)
    (tmp_path / "here").mkdir()
    save_adapter(language_model(encoder), config, f"tiny-{kind}", tmp_path / "here")
    shutil.move(tmp_path / "here", tmp_path / "there")
    shutil.copytree(base, tmp_path / "base")
    again = load_encoder(str(tmp_path / "base"))
    load_adapter(language_model(again), tmp_path / "there")
    vectors = encoder.encode(TEXTS)
    assert (again.encode(TEXTS) == vectors).all()
    assert abs(load_encoder(base).encode(TEXTS) - vectors).max() > 1e-2


def test_files_are_pefts_and_name_no_place(llama, tmp_path) -> None:
    from peft import PeftModel

    encoder, config = adapted(llama)
    save_adapter(language_model(encoder), config, "tiny-llama", tmp_path)
    content = (tmp_path / CONFIG).read_text()
    assert json.loads(content)["base_model_name_or_path"] == "tiny-llama"
    assert str(tmp_path.parent.parent) not in content
    plain = load_encoder(llama)
    features = plain.preprocess(TEXTS)
    inputs = {name: features[name].cpu() for name in ("input_ids", "attention_mask")}
    theirs = PeftModel.from_pretrained(language_model(plain).cpu(), tmp_path).eval()
    ours = language_model(encoder).cpu()
    with torch.no_grad():
        torch.testing.assert_close(theirs(**inputs).last_hidden_state, ours(**inputs).last_hidden_state)


def test_adapters_of_another_model_are_refused(bert, llama, tmp_path) -> None:
    encoder, config = adapted(llama)
    save_adapter(language_model(encoder), config, "tiny-llama", tmp_path)
    message = (
        r"belong to the text model 'tiny-llama' and do not fit the one given; name theirs with steps\.embed\.model"
    )
    with pytest.raises(ModelError, match=message):
        load_adapter(language_model(load_encoder(bert)), tmp_path)


def test_lost_weights_are_noticed(llama, tmp_path) -> None:
    from safetensors.torch import load_file, save_file

    encoder, config = adapted(llama)
    save_adapter(language_model(encoder), config, "tiny-llama", tmp_path)
    weights = load_file(tmp_path / WEIGHTS)
    weights.pop(next(iter(weights)))
    save_file(weights, tmp_path / WEIGHTS)
    with pytest.raises(ModelError, match="0 weights too many, 1 too few"):
        load_adapter(language_model(load_encoder(llama)), tmp_path)


def test_a_missing_package_is_named(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    for use in (lambda: Lora().add_to(torch.nn.Linear(1, 1)), lambda: load_adapter(torch.nn.Linear(1, 1), tmp_path)):
        with pytest.raises(ModelError, match="needs the package peft: pip install peft"):
            use()


@pytest.mark.parametrize("wrong", [{"r": 0}, {"dropout": 1.0}])
def test_impossible_settings_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match=r"steps\.scft\.lora has r="):
        Lora(**wrong)
