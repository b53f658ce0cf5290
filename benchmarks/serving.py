"""``sage-pl serve`` under load on this machine: times of one history, throughput by clients, and a soak with changes.

``python benchmarks/serving.py FOLDER [SOAK] [--clients N] [--pause SECONDS] [--name NAME]``: an exported folder, of which a
copy is served, and the soak's seconds (0: none). One process makes all requests over the loopback address, each client after
its answer came, so nothing runs away. *soak*: clients (8) ask by user and by history, while an item and 20 events are added
every 10 s and the folder is replaced twice. With a pause clients sleep between requests, and the soak alone is measured.
Writes benchmarks/results/NAME.json (serving).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from measuring import about, write  # noqa: E402

from sage_pl import serving  # noqa: E402
from tests.service.server import server  # noqa: E402

CLIENTS, ASKED, SECONDS, LENGTH = (1, 8, 32), 500, 4.0, 10
Body = Callable[[], dict[str, Any]]


class Client:
    """One connection that stays open."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Client:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._writer.close()

    async def post(self, path: str, body: object) -> tuple[int, Any]:
        data = json.dumps(body).encode()
        lines = [
            f"POST {path} HTTP/1.1",
            "Host: localhost",
            "Content-Type: application/json",
            f"Content-Length: {len(data)}",
        ]
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + data)
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        length = next(int(line.partition(":")[2]) for line in lines if line.startswith("content-length"))
        return int(lines[0].split()[1]), json.loads(await self._reader.readexactly(length))


async def load(
    port: int, clients: int, body: Body, stop: Callable[[int], bool], pause: float = 0.0
) -> tuple[list[float], Counter[int]]:
    """Seconds of each answer and answers by status, of clients that ask, ``pause`` s apart, until ``stop(answers so far)``."""
    seconds: list[float] = []
    statuses: Counter[int] = Counter()

    async def one() -> None:
        async with Client(port) as client:
            while not stop(len(seconds)):
                asked = body()
                start = time.perf_counter()
                status, _ = await client.post("/recommend", asked)
                seconds.append(time.perf_counter() - start)
                statuses[status] += 1
                if pause:
                    await asyncio.sleep(pause)

    await asyncio.gather(*(one() for _ in range(clients)))
    return seconds, statuses


def spread(seconds: Iterable[float]) -> dict[str, float]:
    values = sorted(1e3 * one for one in seconds)
    cuts = statistics.quantiles(values, n=100)
    return {
        "p50, ms": round(cuts[49], 2),
        "p95, ms": round(cuts[94], 2),
        "p99, ms": round(cuts[98], 2),
        "most, ms": round(values[-1], 2),
    }


async def figures(served: Any, body: Body) -> dict[str, Any]:
    """Times of one client, and throughput; other programs lengthen both, and the processor's time hardly."""
    port = served.port
    await load(port, 1, body, lambda n: n >= 200)
    seconds, _ = await load(port, 1, body, lambda n: n >= ASKED)
    results: dict[str, Any] = {"one history": {"requests": len(seconds), **spread(seconds)}}
    for clients in CLIENTS:
        end, before = time.perf_counter() + SECONDS, served.processor()
        seconds, statuses = await load(port, clients, body, lambda n, end=end: time.perf_counter() > end)  # type: ignore[misc]
        assert set(statuses) == {200}, statuses
        processor = 1e3 * (served.processor() - before) / len(seconds)
        rates = {"requests per second": round(len(seconds) / SECONDS), "processor per request, ms": round(processor, 2)}
        results[f"{clients} clients"] = {**rates, **spread(seconds)}
    return results


async def soak(served: Any, folder: Path, body: Body, duration: float, clients: int, pause: float) -> dict[str, Any]:
    """A load with changes: statuses, times, exports and MiB."""
    start, before = time.perf_counter(), served.processor()
    memory, models, added = [(0, round(served.memory()))], set(), 0
    columns = json.loads((folder / "new_items.json").read_text())["columns"]

    async def change() -> None:
        nonlocal added
        replaced = 0
        for number in range(10**6):
            if (past := time.perf_counter() - start) > duration:
                return
            async with Client(served.port) as client:  # the server closes connections that are idle for 5 s
                item = {"item_id": f"added-{number}", **dict.fromkeys(columns, f"a new item with the number {number}")}
                events = [{"user_id": f"u{random.randrange(1000)}", "item_id": item["item_id"]} for _ in range(20)]
                for path, body in (("/items", {"items": [item]}), ("/events", {"events": events})):
                    status, answer = await client.post(path, body)
                    assert status == 200, answer
                _, answer = await client.post("/recommend", {"history": [item["item_id"]]})
                models.add(answer["model"])
            added += 1
            if replaced < 2 and past > (replaced + 1) * duration / 3:
                replaced += 1
                await asyncio.to_thread(replace, folder, replaced)
            if past >= memory[-1][0] + duration / 30:
                memory.append((round(past), round(served.memory())))
            await asyncio.sleep(10)

    end = start + duration
    (seconds, statuses), _ = await asyncio.gather(
        load(served.port, clients, body, lambda n: time.perf_counter() > end, pause), change()
    )
    memory.append((round(time.perf_counter() - start), round(served.memory())))
    return {
        "seconds": round(duration), "clients": clients, "pause, s": pause, "requests": len(seconds),
        "answers by status": dict(statuses), "items added": added, "events added": 20 * added, **spread(seconds),
        "share of a core, server": round((served.processor() - before) / duration, 3),
        "exports that answered": len(models), "MiB without files, by second": memory,
    }  # fmt: skip


def replace(folder: Path, number: int) -> None:
    """Another export in the folder's place: the same model under another name."""
    new = Path(shutil.copytree(folder, folder.with_name(f"new{number}")))
    (new / "manifest.json").write_text((new / "manifest.json").read_text() + " " * number)
    folder.rename(folder.with_name(f"old{number}"))
    new.rename(folder)


def direct(folder: Path, history: Body) -> dict[str, float]:
    """The same question to the model in this process, without a server."""
    model, seconds = serving.load(folder), []
    for _ in range(300):
        asked = history()
        start = time.perf_counter()
        model.recommend(asked["history"], asked["k"])
        seconds.append(time.perf_counter() - start)
    return spread(seconds)


def main(source: Path, duration: float, clients: int, pause: float, name: str) -> None:
    with tempfile.TemporaryDirectory(prefix="sage-pl-serving-") as place:
        folder = Path(shutil.copytree(source, Path(place) / "served"))
        ids = json.loads((folder / "catalogue.json").read_text())["ids"][1:]
        draw = random.Random(0)

        def history() -> dict[str, Any]:
            return {"history": draw.sample(ids, LENGTH), "k": 10}

        def either() -> dict[str, Any]:
            return history() if draw.random() < 0.5 else {"user": f"u{draw.randrange(1000)}", "k": 10}

        events = [f"u{user},{item}" for user in range(1000) for item in draw.sample(ids, LENGTH)]
        (Path(place) / "events.csv").write_text("\n".join(["user_id,item_id", *events]))
        arguments = ["serve", str(folder), "--events", f"{place}/events.csv"]
        with server(Path(place) / "log", *arguments, OMP_NUM_THREADS="1") as served:
            results: dict[str, Any] = {**about(), "items": len(ids), "events of a history": LENGTH}
            if not pause:
                results["in this process"] = direct(folder, history)
                results |= asyncio.run(figures(served, history))
                print(json.dumps(results, indent=2), flush=True)
            if duration:
                results["soak"] = asyncio.run(soak(served, folder, either, duration, clients, pause))
                print(json.dumps(results["soak"], indent=2))
    write(name, results)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("soak", type=float, nargs="?", default=0.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--name", default="serving")
    given = parser.parse_args()
    main(given.folder, given.soak, given.clients, given.pause, given.name)
