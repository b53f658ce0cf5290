"""Training on a GPU: users per second, how busy it is, kernels and waits per step, and the same runs on the processor.

``python benchmarks/gpu.py [key=value]``, e.g. ``dataset=yelp paths.data=DIR``. Once in the default settings, beside the
processor, and once with the batches and number formats that suit a GPU. Times are of Lightning's own loop: batch, copy,
forward, backward, update, logging. *Busy* is the time in which at least one kernel runs, over the time of a step without the
profiler. The floor is the larger of FLOPs / peak and bytes / bandwidth, all ceilings measured in the same run. FLOPs in
bfloat16 are divided by its own peak, those in float32 by that of float32, or of TF32 under another ``matmul_precision`` than
highest; the bytes are those of the trained parameters with gradient and both
moments, which an update reads and writes. Writes benchmarks/results/gpu.json.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from flops import Flops
from measuring import about, write
from steps import configuration, parts
from torch.profiler import ProfilerActivity, profile

METHODS = ("plain", "sage")
BACKBONES = ("sasrec", "bert4rec", "gru4rec")
LARGE = [
    "data.batch_size=8192",
    "products=bfloat16",
    "trainer.precision=bf16-mixed",
    "matmul_precision=high",
]
SETTINGS: dict[str, list[str]] = {"256 users, float32": [], "8192 users, bfloat16": LARGE}
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")


class Watch(pl.Callback):
    """Times steps ``warm`` to ``warm + timed``, then counts FLOPs over one and kernels over ten more."""

    def __init__(self, warm: int, timed: int) -> None:
        self.warm, self.timed, self.users = warm, timed, 0
        self.found: dict[str, float] = {}

    def on_train_batch_start(self, trainer: pl.Trainer, model: pl.LightningModule, batch: Any, index: int) -> None:
        step, last = trainer.global_step, self.warm + self.timed
        if step == self.warm:
            self.start = _now()
        if step == last:
            self.found |= {
                "ms": 1e3 * (_now() - self.start) / self.timed,
                "users/s": self.users / (_now() - self.start),
            }
            self.flops = Flops()
            self.flops.__enter__()
        if step == last + 1:
            self.flops.__exit__(None, None, None)
            for dtype, count in self.flops.by_type.items():
                self.found[f"{str(dtype).removeprefix('torch.')} GFLOP"] = count / 1e9
            self.profile = profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA])
            if torch.cuda.is_initialized():
                self.profile.__enter__()
        if self.warm <= step < last:
            self.users += len(batch["user"])

    def on_train_end(self, trainer: pl.Trainer, model: pl.LightningModule) -> None:
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
            self.profile.__exit__(None, None, None)
            self.found |= kernels(self.profile.events(), trainer.global_step - self.warm - self.timed - 1)
            self.found["busy"] = self.found["kernel ms"] / self.found["ms"]
            self.found["peak MB"] = torch.cuda.max_memory_allocated() / 2**20
        self.found["parameter bytes"] = sum(4 * p.numel() for p in model.parameters() if p.requires_grad)


def kernels(events: Any, steps: int) -> dict[str, float]:
    """Milliseconds of a step in which a kernel runs, kernels and waits per step."""
    cuda = torch.autograd.DeviceType.CUDA
    on_gpu = [event for event in events if event.device_type == cuda and not event.is_user_annotation]
    busy, reached = 0.0, float("-inf")
    for first, last in sorted((kernel.time_range.start, kernel.time_range.end) for kernel in on_gpu):
        busy += max(0.0, last - max(first, reached))
        reached = max(reached, last)
    waits = sum(event.name in WAITS for event in events)
    return {"kernel ms": busy / 1e3 / steps, "kernels": len(on_gpu) / steps, "waits": waits / steps}


def training(overrides: list[str], accelerator: str, warm: int, timed: int) -> dict[str, float]:
    """What :class:`Watch` finds while a prepared configuration trains."""
    datamodule, model, _ = parts(overrides)
    watch = Watch(warm, timed)
    pl.Trainer(
        accelerator=accelerator,
        devices=1,
        max_steps=warm + timed + 11,
        precision=configuration(overrides).trainer.precision,
        callbacks=[watch],
        logger=False,
        limit_val_batches=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(model, datamodule)
    return watch.found


def ceilings() -> dict[str, float]:
    """Measured peaks: float32, TF32 and bfloat16 products in TFLOP/s, copies in TB/s, and one G in ms."""
    found = {}
    for name, dtype, mode in (
        ("float32", torch.float32, "highest"),
        ("tf32", torch.float32, "high"),
        ("bfloat16", torch.bfloat16, "highest"),
    ):
        torch.set_float32_matmul_precision(mode)
        a = torch.randn(8192, 8192, device="cuda").to(dtype)
        found[f"{name} TFLOP/s"] = 2 * 8192**3 / _seconds(lambda a=a: a @ a) / 1e12
    torch.set_float32_matmul_precision("highest")
    x = torch.randn(2**28, device="cuda")
    y = torch.empty_like(x)
    found["copy TB/s"] = 2 * 4 * 2**28 / _seconds(lambda: y.copy_(x)) / 1e12
    square = torch.randn(2048, 2048, device="cuda")
    return found | {"G ms": _seconds(lambda: square @ square) * 1e3}


def floor(found: dict[str, float], peaks: dict[str, float], matmul_precision: str) -> float:
    """Milliseconds that FLOPs or bytes need at least; GFLOP over TFLOP/s are milliseconds."""
    ceiling = {name: peaks[f"{name} TFLOP/s"] for name in ("float32", "bfloat16")}
    ceiling["float16"] = ceiling["bfloat16"]
    if matmul_precision != "highest":
        ceiling["float32"] = peaks["tf32 TFLOP/s"]
    by_flops = sum(found.get(f"{name} GFLOP", 0.0) / peak for name, peak in ceiling.items())
    return max(by_flops, 7 * found["parameter bytes"] / peaks["copy TB/s"] / 1e9)


def main(overrides: list[str]) -> None:
    if not torch.cuda.is_available():
        print(
            f"torch {torch.__version__} sees no GPU; run this where `nvidia-smi` lists one, with torch built for CUDA"
        )
        return
    peaks = ceilings()
    told = [entry for entry in overrides if not entry.startswith("paths.")]
    results: dict[str, Any] = {"device": torch.cuda.get_device_name(), **about(), "overrides": told, **peaks}
    print(results, flush=True)
    for (name, own), method, backbone in itertools.product(SETTINGS.items(), METHODS, BACKBONES):
        settings = [f"method={method}", f"backbone={backbone}", *own, *overrides]
        found = training(settings, "cuda", warm=20, timed=20)
        found["floor ms"] = floor(found, peaks, configuration(settings).matmul_precision)
        if not own:
            found["CPU ms"] = training(settings, "cpu", warm=1, timed=4)["ms"]
        results[f"{method} {backbone}, {name}"] = found
        print(f"{method} {backbone}, {name}:", {key: round(value, 3) for key, value in found.items()}, flush=True)
        write("gpu", results)


def _now() -> float:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def _seconds(work: Callable[[], object], repeats: int = 10) -> float:
    for _ in range(3):
        work()
    begin = _now()
    for _ in range(repeats):
        work()
    return (_now() - begin) / repeats


if __name__ == "__main__":
    main(sys.argv[1:])
