import os
from types import SimpleNamespace

import pytest
import torch

from sage_pl import hardware
from sage_pl.hardware import chosen_device, fast_products, multiplies_bfloat16, wait_asleep


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


@pytest.mark.parametrize("variable", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_threads_wait_asleep_unless_the_user_says_how(monkeypatch, variable) -> None:
    monkeypatch.setattr(os, "environ", {"OMP_NUM_THREADS": "2"})
    wait_asleep()
    assert os.environ == {"OMP_NUM_THREADS": "2", "GOMP_SPINCOUNT": "30000", "KMP_BLOCKTIME": "1"}
    monkeypatch.setattr(os, "environ", {variable: "7"})
    wait_asleep()
    assert os.environ == {variable: "7"}


@pytest.mark.parametrize("system", ["posix", "nt"])
def test_a_system_without_glibc_keeps_its_own_memory(monkeypatch, system) -> None:
    def open_library(name):
        assert system == "posix", "Windows refuses a library without a name"
        return object()  # that of macOS, or musl

    monkeypatch.setattr(hardware.ctypes, "CDLL", open_library)
    monkeypatch.setattr(hardware, "os", SimpleNamespace(name=system))
    hardware.keep_freed_memory()
    hardware.return_freed_memory()
