"""The hardware of this machine: device, instructions, and memory of the C library."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of mallopt


def chosen_device(device: str | None) -> str:
    """``device`` itself; for None an accelerator if there is one, else the CPU."""
    import torch

    return device or ("cuda" if torch.cuda.is_available() else "cpu")


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware; the emulation elsewhere is up to ten times slower than float32.

    ``ONEDNN_MAX_CPU_ISA``, which limits the instructions of torch's products on a CPU, counts.
    """
    import torch

    if device.type == "cpu":
        limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
        if limit not in ("", "ALL", "DEFAULT") and not any(name in limit for name in ("BF16", "FP16", "AMX", "AVX10")):
            return False
        features = torch.cpu.get_capabilities()
        return any(features.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def fast_products(accelerator: str = "auto") -> str:
    """The faster type of large matrix products: ``bfloat16`` where the device has instructions for it, else ``float32``.

    Args:
        accelerator: Lightning's name; ``auto`` and ``gpu`` mean a GPU if there is one.
    """
    import torch

    gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return "bfloat16" if multiplies_bfloat16(torch.device("cuda" if gpu else "cpu")) else "float32"


def device_count(accelerator: str, devices: object) -> int:
    """How many devices Lightning's ``devices`` names on this machine; 0 where it names none.

    Args:
        accelerator: Lightning's name.
        devices: a number, ``auto`` or ``-1`` for all of them, or a list of numbers, each also as a text.

    >>> [device_count("cpu", devices) for devices in (1, "2", "auto", [0, 1], "0,1", "0,", -1, "many")]
    [1, 2, 1, 2, 2, 1, 0, 0]
    """
    import torch

    if isinstance(devices, str):
        text = devices.strip()
        devices = [part for part in text.split(",") if part.strip()] if "," in text else text
    if devices in ("auto", -1, "-1", [-1], ["-1"]):
        gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
        return torch.cuda.device_count() if gpu else int(devices == "auto" or accelerator == "mps")
    if isinstance(devices, list | tuple):
        return len(devices)
    try:
        return max(0, int(str(devices)))
    except ValueError:
        return 0


def visible_gpus() -> list[str]:
    """Names of the GPUs that a process started here may use, as ``CUDA_VISIBLE_DEVICES`` has them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def one_gpu(job: int, gpus: Sequence[str]) -> dict[str, str]:
    """The environment in which job j of a sweep sees GPU ``j mod n`` alone; empty where there is one or none.

    >>> [one_gpu(job, ["0", "2"]) for job in (0, 1, 2)]
    [{'CUDA_VISIBLE_DEVICES': '0'}, {'CUDA_VISIBLE_DEVICES': '2'}, {'CUDA_VISIBLE_DEVICES': '0'}]
    >>> one_gpu(3, ["0"])
    {}
    """
    return {"CUDA_VISIBLE_DEVICES": gpus[job % len(gpus)]} if len(gpus) > 1 else {}


def keep_freed_memory() -> None:
    """Set glibc's malloc to keep freed memory, whose page faults cost a tenth of a training step. No-op elsewhere."""
    if mallopt := _of_libc("mallopt"):
        mallopt(_MMAP_THRESHOLD, 32 << 20)
        mallopt(_TRIM_THRESHOLD, 1 << 30)


def return_freed_memory() -> None:
    """Return glibc's freed memory to the system, for loops whose tensors differ in size at each step. No-op elsewhere."""
    if trim := _of_libc("malloc_trim"):
        trim(0)


def _of_libc(name: str) -> Callable[..., int] | None:
    """A function of the C library, where it has one: Windows opens no library without a name, others lack glibc's."""
    return getattr(ctypes.CDLL(None), name, None) if os.name == "posix" else None


def wait_asleep() -> None:
    """Have OpenMP's threads wait for each other asleep after a fraction of a millisecond, if the environment sets nothing.

    Call it before torch loads. By default they spin for several milliseconds. Where other processes run beside, the thread that
    is waited for then lacks the processor that the waiting one keeps busy. Without any spinning, a step takes half as long
    again on an idle machine; the number is the least that costs nothing there.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
        os.environ |= {"GOMP_SPINCOUNT": "30000", "KMP_BLOCKTIME": "1"}  # GNU's, and LLVM's and Intel's in milliseconds
