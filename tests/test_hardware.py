import pytest
import torch

from sage_pl.hardware import chosen_device, fast_products, multiplies_bfloat16


@pytest.mark.parametrize(
    ("asked", "there", "taken"), [("cpu", True, "cpu"), (None, True, "cuda"), (None, False, "cpu")]
)
def test_what_is_asked_for_comes_first(monkeypatch, asked, there, taken) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: there)
    assert chosen_device(asked) == taken


@pytest.mark.parametrize(
    ("features", "limit", "multiplies"),
    [
        ({"avx2": True}, None, False),
        ({"avx512_bf16": True}, None, True),
        ({"amx_bf16": True}, None, True),
        ({"bf16": True}, None, True),  # Arm
        ({"avx512_bf16": True}, "AVX2", False),
        ({"avx512_bf16": True}, "avx512_core", False),
        ({"avx512_bf16": True}, "AVX512_CORE_BF16", True),
        ({"avx512_bf16": True}, "DEFAULT", True),
    ],
)
def test_products_follow_the_instructions(monkeypatch, features, limit, multiplies) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: features)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    if limit:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert multiplies_bfloat16(torch.device("cpu")) is multiplies
    assert fast_products("cpu") == ("bfloat16" if multiplies else "float32")
