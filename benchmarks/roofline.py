"""What a training step needs by its mathematics, what the machine could do it in, what it takes, and where the rest goes.

``python benchmarks/roofline.py [key=value]``, with the settings of ``steps.py``. Writes benchmarks/results/roofline.json.

FLOPs are those of the matrix products and attentions that a step runs, counted. Bytes are what it cannot do without:
parameters read forward and backward, gradients written and read, Adam's two moments and the parameters updated (40 bytes a
number in float32), and what autograd keeps from forward to backward, written and read once. Both peaks are measured here.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from flops import Flops
from measuring import about, median_seconds, write
from steps import SETTINGS, random_text, stepper
from torch import Tensor

BATCHES, PASSES = 20, 3
TABLES = ("phases", "kinds", "operations")
PHASES = ("batch", "forward", "backward", "update")
KINDS = {
    "matrix products": ("mm", "addmm", "bmm", "baddbmm", "addmv"),
    "attention": ("_scaled_dot_product",),
    "sums and norms": ("sum", "mean", "amax", "logsumexp", "native_layer_norm", "_softmax", "_log_softmax", "norm"),
    "look-ups and copies": (
        *("embedding", "index", "gather", "scatter", "copy_", "cat", "clone", "_unique", "nonzero", "searchsorted"),
        *("fill_", "zero_", "sort", "repeat", "contiguous"),
    ),
    "element by element": (
        *(
            "mul",
            "add",
            "sub",
            "div",
            "exp",
            "log",
            "where",
            "bernoulli",
            "masked_fill",
            "relu",
            "gelu",
            "threshold",
            "sqrt",
        ),
        *("lerp", "addcmul", "addcdiv", "eq", "ne", "gt", "bitwise", "rsub", "neg", "pow", "_fused_adam", "_foreach"),
    ),
    "bookkeeping of torch": ("autograd", "torch::autograd", "Optimizer", *PHASES),
}  # names of operations, or their beginnings


def peaks() -> tuple[float, float]:
    """FLOPs per second of a 2048 x 2048 product, bytes per second of adding two arrays of 256 MiB into a third; best of 15."""
    square = torch.randn(2048, 2048)
    first, second, total = (torch.ones(2**26) for _ in range(3))
    product, addition = best_seconds(lambda: square @ square), best_seconds(lambda: torch.add(first, second, out=total))
    return 2 * 2048**3 / product, 3 * 2**28 / addition


def best_seconds(work: Callable[[], object], repeats: int = 15) -> float:
    return min(median_seconds(work, 1) for _ in range(repeats))


def flops(work: Callable[[], None]) -> int:
    with Flops() as counted:
        work()
    return counted.total()


def kept_bytes(work: Callable[[], None], model: torch.nn.Module) -> int:
    """Bytes that autograd keeps, each piece of memory once, parameters and constants left out."""
    own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = max(kept.get(storage.data_ptr(), 0), tensor.nbytes)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        work()
    return sum(kept.values())


def profile(step: Callable[[int], None]) -> dict[str, dict[str, float]]:
    """Shares of the profiled time: by phase, by kind of operation, and of the single operations that take most."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        start = time.perf_counter()
        for number in range(BATCHES):
            step(number)
        wall = 1e6 * (time.perf_counter() - start)
    events = {event.key.removeprefix("aten::"): event for event in profiler.key_averages()}
    own = {name: event.self_cpu_time_total / wall for name, event in events.items() if name not in PHASES}
    kinds = Counter[str]()
    for name, share in own.items():
        kinds[kind_of(name)] += share
    kinds["Python"] = 1 - sum(own.values())
    phases = {name: events[name].cpu_time_total / wall for name in PHASES}
    return {"phases": phases, "kinds": dict(kinds.most_common()), "operations": dict(Counter(own).most_common(15))}


def kind_of(name: str) -> str:
    for kind, names in KINDS.items():
        exact = kind == "matrix products"
        if name in names if exact else name.startswith(names):
            return kind
    return "bookkeeping of torch" if "Backward" in name else "other operations"


def measure(overrides: list[str]) -> dict[str, Any]:
    """What one method needs and takes, whatever the machine's peaks."""
    step, model = stepper(overrides, BATCHES)
    for number in range(BATCHES):
        step(number)

    def once() -> None:
        for number in range(BATCHES):
            step(number)

    seconds = median_seconds(once, PASSES) / BATCHES
    counted = flops(once) / BATCHES
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    kept = statistics.mean(kept_bytes(lambda number=number: step(number), model) for number in range(BATCHES))
    moved = 40 * parameters + 2 * kept
    return {"seconds": seconds, "flops": counted, "bytes": moved, "parameters": 40 * parameters, **profile(step)}


def roofline(measured: dict[str, Any], peak: float, memory: float) -> dict[str, Any]:
    seconds, kinds = measured["seconds"], measured["kinds"]
    products, traffic = measured["flops"] / peak, measured["bytes"] / memory
    inside = kinds["matrix products"] + kinds.get("attention", 0)
    return {
        "GFLOP": measured["flops"] / 1e9,
        "MB": measured["bytes"] / 1e6,
        "of these parameters and optimiser": measured["parameters"] / measured["bytes"],
        "at the measured peak of products, ms": 1e3 * products,
        "at the measured peak of memory, ms": 1e3 * traffic,
        "taken, ms": 1e3 * seconds,
        "the larger floor by that": max(products, traffic) / seconds,
        "speed of the products, of their peak": products / (inside * seconds),
        **{table: measured[table] for table in TABLES},
    }


def markdown(results: dict[str, Any]) -> str:
    """The figures of both methods as the tables of docs/performance.md."""
    sage, plain = results["sage"], results["plain"]
    lines = ["", "| | SAGE | plain |", "|---|---:|---:|"]
    lines += [f"| {name} | {value:.3g} | {plain[name]:.3g} |" for name, value in sage.items() if name not in TABLES]
    for part in TABLES:
        lines += ["", f"| share of the profiled time: {part} | SAGE | plain |", "|---|---:|---:|"]
        for name, share in sage[part].items():
            other = plain[part].get(name, 0)
            lines.append(f"| {name} | {100 * share:.0f} % | {100 * other:.0f} % |")
    return "\n".join(lines)


def main(overrides: list[str]) -> None:
    text = random_text(overrides)
    before, measured = peaks(), {}
    for method in ("sage", "plain"):
        measured[method] = measure([*SETTINGS, f"steps.embed.path={text}", f"method={method}", *overrides])
    peak, memory = map(max, before, peaks())
    results: dict[str, Any] = {
        **about(),
        "GFLOP/s": peak / 1e9,
        "GB/s": memory / 1e9,
        "overrides": [entry for entry in overrides if not entry.startswith("paths.")],
        **{method: roofline(figures, peak, memory) for method, figures in measured.items()},
    }
    print(f"peaks: {peak / 1e9:.0f} GFLOP/s, {memory / 1e9:.1f} GB/s, {torch.get_num_threads()} threads")
    print(markdown(results))
    write("roofline", results)


if __name__ == "__main__":
    main(sys.argv[1:])
