"""An accelerator computes on while the host prepares, unless the host asks for a number: counted here on the processor."""

import functools
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sage_pl.data.datamodule import SequenceDataModule
from sage_pl.data.neighbours import Neighbours, NeighbourUsers
from sage_pl.nn import losses, objectives
from sage_pl.nn.decoders.item_decoder import ItemDecoder
from sage_pl.nn.decoders.language_model import LanguageModelDecoder
from sage_pl.nn.item_encoders.codes import CodeEncoder
from sage_pl.nn.item_encoders.dual import DualEncoder
from sage_pl.nn.item_encoders.gaussian import GaussianItems
from sage_pl.nn.item_encoders.id import IdEncoder
from sage_pl.nn.item_encoders.id_beside_text import IdBesideText
from sage_pl.nn.losses.alignment import Alignment
from sage_pl.nn.losses.base import LossTerm
from sage_pl.nn.losses.code_negatives import CodeNegatives
from sage_pl.nn.losses.code_tasks import QueryToCode, TextsToCode, TextToCode
from sage_pl.nn.losses.code_texts import CodeToText, StateToText
from sage_pl.nn.losses.contrastive import InfoNCE
from sage_pl.nn.losses.cross_modal import CrossModal
from sage_pl.nn.losses.distance_margin import DistanceMargin
from sage_pl.nn.losses.distillation import UserDistillation
from sage_pl.nn.losses.distillation_bank import BankDistillation
from sage_pl.nn.losses.melt import ItemBranch, UserBranch
from sage_pl.nn.losses.mmd import MMD
from sage_pl.nn.losses.prompts import HistoryPrompt, ItemPrompt, PromptTask
from sage_pl.nn.losses.prototype import Prototype
from sage_pl.nn.losses.prototype_contrast import PrototypeContrast
from sage_pl.nn.losses.semantic_interests import InterestAlignment, SemanticPrediction
from sage_pl.nn.losses.teacher_alignment import TeacherAlignment
from sage_pl.nn.losses.view_alignment import CosineAlignment, InfoNCEAlignment, MSEAlignment
from sage_pl.nn.modules.base import RecommenderModule
from sage_pl.nn.modules.generative import GenerativeRecommender
from sage_pl.nn.modules.sequential import SequentialRecommender
from sage_pl.nn.modules.step import map_tensors, prepare_batch
from sage_pl.nn.objectives.bce import BCE
from sage_pl.nn.objectives.bpr import BPR
from sage_pl.nn.objectives.code_sequence import CodeSequence
from sage_pl.nn.objectives.codes import CodeCrossEntropy
from sage_pl.nn.objectives.sampled_softmax import SampledSoftmax
from sage_pl.nn.objectives.softmax import Softmax
from sage_pl.nn.sequence_encoders.code_prompt import CodePrompt
from sage_pl.nn.sequence_encoders.dual import DualView
from sage_pl.nn.sequence_encoders.melt import EnhancedUsers
from sage_pl.nn.sequence_encoders.single import SingleView
from sage_pl.nn.sequence_encoders.stosa import StochasticAttention
from sage_pl.training.optimizers.row_adam import RowAdam
from sage_pl.types import SeqBatch
from tests.golden.prepared import BACKBONES, N_ITEMS, Artifacts, make_backbone, make_targets, write
from tests.nn.decoders.tiny import make_network
from tests.nn.modules.conftest import MAX_LEN, MakeModel

ASKS = ("nonzero", "_local_scalar_dense", "_unique", "_unique2", "masked_select", "equal", "_coalesce")
ADAM, ROW_ADAM = functools.partial(torch.optim.Adam, fused=True), functools.partial(RowAdam, lr=0.01)
OBJECTIVES = {"softmax": Softmax, "sampled": SampledSoftmax, "bce": BCE, "bpr": BPR}


@dataclass
class Files:
    """Paths that losses are made from."""

    data: Artifacts
    tokens: str
    teacher: str
    texts: str
    llama: str
    interests: str

    def prompt(self, kind: type[PromptTask], prompt: str, response: str) -> PromptTask:
        return kind(0.1, prompt, response, self.tokens, N_ITEMS, self.texts, self.llama, 4, 4, 3, offline=True)


@pytest.fixture
def files(artifacts: Artifacts, tokens: str, texts: str, llama: str, tmp_path: Path) -> Files:
    table = np.random.default_rng(0).normal(size=(N_ITEMS + 2, 8)).astype(np.float32)
    teacher = write(tmp_path / "teacher", item_table=table)
    interests = write(tmp_path / "interests", values=table[:5], offsets=np.array([0, 0, 1, 2, 3, 4, 5]))
    return Files(artifacts, tokens, teacher, texts, llama, interests)


Make = Callable[[Files], LossTerm]
TERMS: dict[str, Make] = {
    "exact": lambda made: UserDistillation(0.3),
    "fresh_dropout": lambda made: UserDistillation(0.3, fresh_dropout=True),
    "bank": lambda made: BankDistillation(0.3, 5),
    "contrasted bank": lambda made: BankDistillation(0.3, 5, "cl"),
    "alignment": lambda made: Alignment(0.2),
    "occurrences": lambda made: Alignment(0.2, unique=False),
    "mmd": lambda made: MMD(0.2),
    "infonce": lambda made: InfoNCEAlignment(0.2),
    "cosine": lambda made: CosineAlignment(0.2),
    "mse": lambda made: MSEAlignment(0.2),
    "teacher": lambda made: TeacherAlignment(0.2, made.teacher, N_ITEMS, InfoNCE()),
    "prototype": lambda made: Prototype(0.5, made.data.clusters),
    "trained prototypes": lambda made: PrototypeContrast(0.5, made.data.clusters, made.data.sequences, 8),
    "prototype of the batch": lambda made: Prototype(0.5, made.data.clusters, scope="batch"),
}
DECODED_TERMS: dict[str, Make] = {
    "text_to_code": lambda made: TextToCode(0.1, made.data.sequences, 4),
    "texts_to_code": lambda made: TextsToCode(0.1),
    "query_to_code": lambda made: QueryToCode(0.1, made.tokens, N_ITEMS, 8),
    "code_to_text": lambda made: CodeToText(0.1, made.data.sequences, 4),
    "state_to_text": lambda made: StateToText(0.1),
    "code_negatives": lambda made: CodeNegatives(0.1, made.tokens, N_ITEMS, after=0),
}
PROMPTS: dict[str, Make] = {
    "to codes": lambda made: made.prompt(ItemPrompt, "name0 {text}", "{item}"),
    "to words": lambda made: made.prompt(HistoryPrompt, "{history} name0 {titles}", "{text}"),
}
SINGLE_TERMS: dict[str, Make] = {
    "cross_modal": lambda made: CrossModal(0.2, parts=2),
    "interest_alignment": lambda made: InterestAlignment(0.1, made.interests, 5, 8, typical=1.0),
    "semantic_prediction": lambda made: SemanticPrediction(0.1, made.interests, 5, 8, typical=1.0),
}
TAIL_TERMS: dict[str, Make] = {
    "user_branch": lambda made: UserBranch(0.1, 3),
    "item_branch": lambda made: ItemBranch(0.4, made.data.sequences, 8, tail=0.5),
}
DISTANCE_TERMS: dict[str, Make] = {"distance_margin": lambda made: DistanceMargin(0.1, N_ITEMS)}
LOSSES: dict[str, Make] = {
    **PROMPTS,
    "sequence": lambda made: CodeSequence(made.data.sequences),
    **TERMS,
    **SINGLE_TERMS,
    **TAIL_TERMS,
    **DISTANCE_TERMS,
    **DECODED_TERMS,
    **{name: lambda made, kind=kind: kind(made.data.sequences) for name, kind in OBJECTIVES.items()},
    "codes": lambda made: CodeCrossEntropy(made.data.sequences),
}
WAITS = {"contrasted bank": ["nonzero"], "occurrences": ["index"], "prototype of the batch": ["index"]}


class Asked(TorchDispatchMode):
    """Names the operations whose result's size or value the host must know."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().removeprefix("aten::").split(".")[0]
        masks = name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1])
        if masks or name in ASKS:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


def loaded(artifacts: Artifacts) -> SeqBatch:
    """The batch of all users as it is loaded."""
    extras = {"exact": Neighbours(artifacts.neighbours, k=2), "bank": NeighbourUsers(artifacts.neighbours, k=2)}
    loader = SequenceDataModule(artifacts.sequences, max_len=MAX_LEN, batch_size=5, extras=extras).train_dataloader()
    return next(iter(loader))


def waits(model: RecommenderModule, artifacts: Artifacts) -> list[str]:
    """What the host asks for in the second step."""
    optimizer = model.configure_optimizers()
    for _ in range(2):
        batch = model.on_before_batch_transfer(loaded(artifacts), 0)
        with Asked() as asked:
            model.training_step(batch, 0).backward()
            optimizer.step()
    return asked.names


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_host_never_waits_for_a_plain_step(backbone: str, objective: str, artifacts: Artifacts) -> None:
    chosen = OBJECTIVES[objective](artifacts.sequences)
    encoder, reader = IdEncoder(N_ITEMS, 8), SingleView(make_backbone(backbone))
    model = SequentialRecommender(encoder, reader, make_targets(backbone), chosen, {}, ADAM).float()
    assert waits(model, artifacts) == []


def test_every_loss_there_is_is_counted(files: Files) -> None:
    for package in (losses, objectives):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            import_module(module.name)
    kinds, found = [LossTerm], set()
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        if kind.__module__.startswith("sage_pl.") and not inspect.isabstract(kind):
            found.add(kind)
    assert {type(make(files)) for make in LOSSES.values()} == found


@pytest.mark.parametrize("name", LOSSES)
def test_a_draw_is_on_the_host_and_in_the_batch_alone(name: str, files: Files) -> None:
    """Wherever the loss itself is."""
    loss = LOSSES[name](files).to("meta")
    loss.name = name
    before = dict(vars(loss))
    batch = prepare_batch(loaded(files.data), make_targets("sasrec"), [loss], N_ITEMS + 1, epoch=9)
    assert vars(loss).keys() == before.keys()
    assert all(value is before[key] for key, value in vars(loss).items())
    assert {ids.device.type for ids in [*batch["draws"].values(), *loss.item_ids(batch)]} <= {"cpu"}


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_host_waits_for_few_terms(term: str, backbone: str, objective: str, files: Files) -> None:
    chosen = OBJECTIVES[objective](files.data.sequences)
    encoder = DualEncoder(N_ITEMS, files.data.text, files.data.start, dim=8)
    targets, named = make_targets(backbone), {term: TERMS[term](files)}
    model = SequentialRecommender(encoder, DualView(make_backbone(backbone)), targets, chosen, named, ADAM).float()
    assert waits(model, files.data) == WAITS.get(term, [])


@pytest.mark.parametrize("term", SINGLE_TERMS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_host_never_waits_for_terms_of_one_view(term: str, backbone: str, files: Files) -> None:
    encoder, reader = IdBesideText(N_ITEMS, files.data.text, 8), SingleView(make_backbone(backbone))
    chosen, named = SampledSoftmax(files.data.sequences), {term: SINGLE_TERMS[term](files)}
    model = SequentialRecommender(encoder, reader, make_targets(backbone), chosen, named, ADAM).float()
    assert waits(model, files.data) == []


@pytest.mark.parametrize("term", TAIL_TERMS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_host_never_waits_for_terms_of_the_tail(term: str, backbone: str, files: Files) -> None:
    encoder, reader = IdEncoder(N_ITEMS, 8), EnhancedUsers(make_backbone(backbone, max_len=50), 3)
    chosen, named = SampledSoftmax(files.data.sequences), {term: TAIL_TERMS[term](files)}
    model = SequentialRecommender(encoder, reader, make_targets(backbone), chosen, named, ADAM).float()
    assert waits(model, files.data) == []


@pytest.mark.parametrize("term", DISTANCE_TERMS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_host_never_waits_for_distances(term: str, objective: str, files: Files) -> None:
    chosen, named = OBJECTIVES[objective](files.data.sequences), {term: DISTANCE_TERMS[term](files)}
    encoder, reader = GaussianItems(N_ITEMS, 8), StochasticAttention(8, MAX_LEN)
    model = SequentialRecommender(encoder, reader, make_targets("sasrec"), chosen, named, ADAM).float()
    assert waits(model, files.data) == []


@pytest.mark.parametrize("term", DECODED_TERMS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_host_waits_for_no_term_of_decoded_items(term: str, backbone: str, files: Files) -> None:
    decoder = ItemDecoder(files.tokens, N_ITEMS, make_network("bilinear", 8))
    encoder, reader = (
        CodeEncoder(N_ITEMS, files.tokens, 8, files.data.text),
        SingleView(make_backbone(backbone), "item"),
    )
    objective, named = CodeCrossEntropy(files.data.sequences), {term: DECODED_TERMS[term](files)}
    model = GenerativeRecommender(encoder, reader, make_targets(backbone), decoder, objective, named, ADAM).float()
    assert waits(model, files.data) == []


@pytest.mark.parametrize("task", PROMPTS)
def test_the_host_waits_for_no_task_of_a_language_model(task: str, files: Files) -> None:
    decoder = LanguageModelDecoder(files.tokens, N_ITEMS, files.llama, 16, rank=2, offline=True)
    encoder, reader = CodeEncoder(N_ITEMS, files.tokens, decoder.network.dim), CodePrompt(decoder.network.dim)
    objective, named = CodeSequence(files.data.sequences), {task: PROMPTS[task](files)}
    model = GenerativeRecommender(encoder, reader, make_targets("sasrec"), decoder, objective, named, ADAM).float()
    assert waits(model, files.data) == []


def test_sparse_gradients_make_the_host_wait_three_times(artifacts: Artifacts) -> None:
    """Torch leaves the padding row out of the gradient, and brings its rows in order; counts of steps are the host's own."""
    encoder, reader = IdEncoder(N_ITEMS, 8, sparse=True), SingleView(make_backbone("sasrec"))
    objective = SampledSoftmax(artifacts.sequences)
    model = SequentialRecommender(encoder, reader, make_targets("sasrec"), objective, {}, ROW_ADAM).float()
    assert [name for name in waits(model, artifacts) if name != "_local_scalar_dense"] == [
        "index",
        "index",
        "_coalesce",
    ]


def test_a_batch_is_prepared_before_it_is_moved_and_only_in_training(
    make_model: MakeModel, datamodule: SequenceDataModule
) -> None:
    model, batch = make_model(), next(iter(datamodule.train_dataloader()))
    prepared = model.on_before_batch_transfer(batch, 0)
    assert prepared["labels"].tolist() == prepared["targets"].flatten().nonzero().flatten().tolist()
    assert prepared["distinct_items"].tolist() == sorted(set(prepared["items"].flatten().tolist()) - {0})
    assert "encode_ids" not in prepared, "the softmax reads every item"
    torch.testing.assert_close(model.training_step(prepared, 0), model.training_step(batch, 0), rtol=0, atol=0)
    assert model.eval().on_before_batch_transfer(batch, 0) is batch


@pytest.mark.parametrize("training", [True, False])
def test_a_gpu_copies_from_pinned_memory(
    training: bool, make_model: MakeModel, datamodule: SequenceDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, kept = make_model("bert4rec").train(training), []
    batch = next(iter(datamodule.train_dataloader()))

    def pin(tensor: Tensor) -> Tensor:
        assert tensor.is_contiguous(), "other memory is copied once more, and that copy is not pinned"
        kept.append(tensor)
        return tensor

    monkeypatch.setattr(Tensor, "pin_memory", pin)
    model.on_before_batch_transfer(batch, 0)
    assert not kept, "without a GPU there is nothing to pin for"
    monkeypatch.setattr(SequentialRecommender, "device", torch.device("cuda"))
    moved: Any = model.on_before_batch_transfer(batch, 0)
    assert ("labels" in moved) == training
    tensors: Any = []
    map_tensors(moved, tensors.append)
    assert {id(tensor) for tensor in tensors} == {id(tensor) for tensor in kept}
    assert len(tensors) >= len(moved.keys() - {"draws"})
