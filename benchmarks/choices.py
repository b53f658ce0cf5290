"""What is chosen for this processor, why, and what each choice saves: every one measured beside its alternative.

``python benchmarks/choices.py``. All cases take turns, each in a process of its own. Writes benchmarks/results/choices.json.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from measuring import about, serve, take_turns, write

from sage_pl.hardware import fast_products, keep_freed_memory, multiplies_bfloat16
from sage_pl.nn.objectives.linear_cross_entropy import linear_cross_entropy

ROUNDS = 9
ROWS, ITEMS, WIDTH, BLOCK = 2048, 12_000, 64, 256
SPINNING = {"GOMP_SPINCOUNT": "300000", "KMP_BLOCKTIME": "200"}  # what the libraries take where nothing is set


def softmax(products: str) -> Callable[[], object]:
    """The loss over the catalogue with its gradients."""
    hidden, table = (torch.randn(n, WIDTH, requires_grad=True) for n in (ROWS, ITEMS))
    targets, every = torch.randint(ITEMS, (ROWS,)), torch.arange(ITEMS)
    kind = None if products == "float32" else torch.bfloat16
    return lambda: linear_cross_entropy(hidden, table, targets, every, BLOCK, kind).backward()


def encoder(products: str) -> Callable[[], object]:
    """Six layers of a text encoder as wide as MiniLM: 64 texts of 32 tokens."""
    layer = torch.nn.TransformerEncoderLayer(384, 12, 1536, batch_first=True)
    layers, texts = torch.nn.TransformerEncoder(layer, 6).eval(), torch.randn(64, 32, 384)

    def encode() -> None:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=products == "bfloat16"):
            layers(texts)

    return encode


def small(_: str) -> Callable[[], object]:
    """Many operations that are small, as a training step has them: threads wait for one another after each."""
    rows, weight = torch.randn(ROWS, WIDTH), torch.randn(WIDTH, WIDTH)

    def work() -> None:
        for _ in range(200):
            torch.nn.functional.layer_norm(torch.relu(rows @ weight), (WIDTH,))

    return work


def case(work: str, products: str, threads: str) -> tuple[Callable[[], object], Callable[[], dict[str, Any]]]:
    if threads != "default":
        torch.set_num_threads(int(threads))
    if os.environ.get("KEEP") == "1":
        keep_freed_memory()
    return {"softmax": softmax, "encoder": encoder, "small": small}[work](products), dict


def choices() -> list[tuple[str, str, str, list[str], dict[str, str], list[str], dict[str, str]]]:
    """What is chosen, why, its alternative, and for both the case and its environment."""
    products, other = fast_products("cpu"), {"bfloat16": "float32", "float32": "bfloat16"}
    has = [name for name, there in torch.cpu.get_capabilities().items() if "bf16" in name and there]
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA")
    why = f"instructions {', '.join(has) or 'none'}" + (f", ONEDNN_MAX_CPU_ISA={limit}" if limit else "")
    encoding = "bfloat16" if multiplies_bfloat16(torch.device("cpu")) else "float32"
    threads, wait = torch.get_num_threads(), {key: os.environ.get(key, "") for key in SPINNING}
    keep, free = {**wait, "KEEP": "1"}, {**wait, "KEEP": "0"}
    return [
        ("softmax", products, why, ["softmax", products, "default"], keep, ["softmax", other[products], "default"], keep),
        ("encoder", encoding, why, ["encoder", encoding, "default"], keep, ["encoder", other[encoding], "default"], keep),
        ("threads", f"{threads}", "OMP_NUM_THREADS, else the cores", ["softmax", products, "default"], keep,
         ["softmax", products, "1"], keep),
        ("waiting", f"GOMP_SPINCOUNT={wait['GOMP_SPINCOUNT']}", "other processes may run beside",
         ["small", products, "default"], keep, ["small", products, "default"], {**SPINNING, "KEEP": "1"}),
        ("freed memory", "kept", "page faults", ["softmax", products, "default"], keep, ["softmax", products, "default"], free),
    ]  # fmt: skip


def processor() -> str:
    """Its name as the system tells it."""
    file = Path("/proc/cpuinfo")
    fields = dict(line.split(":", 1) for line in file.read_text().splitlines() if ":" in line) if file.is_file() else {}
    named = {key.strip(): value.strip() for key, value in fields.items()}
    family = f", family {named['cpu family']}" if "cpu family" in named else ""
    return named.get("model name", platform.processor() or platform.machine()) + family


def main() -> None:
    results: dict[str, Any] = {
        **about(),
        "processor": processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
    }
    print(f"{results['processor']}, {results['cpus']} cores, {results['capability']}")
    for name, chosen, why, first, its, second, others in choices():
        commands = {"chosen": [__file__, "case", *first], "other": [__file__, "case", *second]}
        figures, _ = take_turns(commands, ROUNDS, {"chosen": its, "other": others})
        ratio = figures["other"]["s"] / figures["chosen"]["s"]
        busy = figures["other"]["processor s"] / figures["chosen"]["processor s"]
        results[name] = {
            "chosen": chosen,
            "why": why,
            "s": figures["chosen"]["s"],
            "alternative": ratio,
            "processor": busy,
        }
        print(f"{name:13} {chosen} ({why}): the alternative takes {ratio:.2f} x the time, {busy:.2f} x the processor's")
    write("choices", results)


if __name__ == "__main__":
    if sys.argv[1:2] == ["case"]:
        serve(lambda: case(*sys.argv[2:]))
    else:
        main()
