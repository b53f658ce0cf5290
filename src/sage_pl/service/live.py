"""The present generation of a server; it follows the folder, the store and the file of kept lists."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from sage_pl.artifacts.files import MANIFEST
from sage_pl.data.mapped import digest
from sage_pl.errors import UserError
from sage_pl.hardware import return_freed_memory
from sage_pl.service.generation import Generation
from sage_pl.service.settings import Settings
from sage_pl.service.state import KnownItemError, Store, StoreError
from sage_pl.serving import Origin, Recommendation, TopKCache

log = logging.getLogger(__name__)
Stamp = tuple[int, ...]
NewItems = Sequence[tuple[str, Mapping[str, str]]]


class Live:
    """Replaces :attr:`generation` as a whole, so a request that holds one answers by it to its end.

    What takes long (loading, encoding texts) runs on a thread beside the one that runs the model.

    Args:
        settings: of the server.
        on_reload: called after each change of the export.

    Raises:
        UserError: the folder or the store cannot be used.
    """

    def __init__(self, settings: Settings, on_reload: Callable[[], object] = lambda: None) -> None:
        self._settings = settings
        self._on_reload = on_reload
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="changes")
        # a store that is locked holds up no other thread
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="events")
        self._task: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._problems: dict[str, str] = {}
        self.store = Store(settings.store)
        self._folder_stamp, self._lists_stamp = _stamp(self._manifest), _stamp(settings.lists)
        self._refused: Mapping[str, Stamp | None] | None = None  # the files of an export that could not be used
        self._place = 0  # of the newest item that was read from the store
        self.generation = self._with_added(Generation.of(settings.place))
        self.lists = self._opened_lists()

    @property
    def _manifest(self) -> Path:
        folder = self._settings.place
        return folder / MANIFEST if (folder / MANIFEST).is_file() else folder / "model.json"

    @property
    def problem(self) -> str | None:
        """What is not as the folder, the store or the lists would have it; None where all is."""
        return "; ".join(self._problems.values()) or None

    def start(self) -> None:
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._thread.shutdown()
        self._writer.shutdown()
        self.store.close()

    async def catch_up(self) -> None:
        """Read what other processes added and what was replaced, now."""
        async with self._lock:
            await self.apart(self._look)

    async def add_items(self, items: NewItems) -> Generation:
        """Recommend new items too, here at once and in the other processes at their next look.

        Raises:
            KnownItemError: one is known, or occurs twice.
            SettingError: one has no text, or the model takes no new items.
        """
        async with self._lock:
            return await self.apart(self._added, items)

    async def add_events(self, events: Sequence[tuple[str, str, float | None]]) -> int:
        """See :meth:`sage_pl.service.state.Store.add_events`."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, self.store.add_events, events)

    async def apart(self, function: Callable[..., Any], *arguments: object) -> Any:
        """A call on the thread of changes."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    def kept(self, user: str, rows: Sequence[int], k: int, generation: Generation) -> list[Recommendation] | None:
        """A user's kept list, if it is of this model and this history, and long enough."""
        cache = self.lists
        if cache is None or k > cache.k or (row := cache.row(user)) is None:
            return None
        origin = self._origin(generation)
        if cache.lists.keys[row] != origin.key(user, rows):  # type: ignore[arg-type]
            return None
        return generation.named(cache.lists.ids[row].tolist(), cache.lists.scores[row].tolist(), k)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._settings.follow)
            try:
                await self.catch_up()
            except Exception:
                log.exception("the server goes on with what it has")

    def _look(self) -> None:
        try:
            self._follow_export()
            self.store.check()
            self._problems.pop("store", None)
        except StoreError as error:
            self._complain("store", str(error))
        stamp = _stamp(self._settings.lists)
        if stamp != self._lists_stamp:
            self._lists_stamp = stamp
            self.lists = self._opened_lists()

    def _follow_export(self) -> None:
        stamp = _stamp(self._manifest)
        completed = self._refused is not None and self._refused != _stamps(self._settings.place)
        replaced = completed or stamp != self._folder_stamp
        if stamp is not None and replaced:
            self._folder_stamp = stamp
            self._reload()
        elif self.store.items_after(self._place):
            self._replace(self._with_added(self.generation))

    def _reload(self) -> None:
        before, self._place = self._place, 0
        files, self._refused = _stamps(self._settings.place), None
        try:
            generation = self._with_added(Generation.of(self._settings.place))
        except StoreError:
            self._place, self._folder_stamp = before, None
            raise
        except (UserError, OSError) as error:
            self._place, self._refused = before, files
            self._complain("export", f"the new export is not used: {error}")
            return
        self._replace(generation)
        self._problems.pop("export", None)
        self.lists = self._opened_lists()
        self._on_reload()
        log.info("export %s serves now: %d items", generation.version, generation.n_items)

    def _with_added(self, generation: Generation) -> Generation:
        """With the items that were added since the last look, or with all of them where the export is new."""
        if self._place == 0:
            self._problems.pop("items", None)
        newer = self.store.items_after(self._place)
        self._place = newer[-1].place if newer else self._place
        unknown = [(item.id, item.texts) for item in newer if item.id not in generation.catalogue.numbers]
        if not unknown:
            return generation
        generation, refused = _with_those_that_fit(generation, unknown)
        if refused:
            self._complain("items", f"{len(refused)} of {len(unknown)} added items are not served: {refused[0]}")
        return generation

    def _added(self, items: NewItems) -> Generation:
        self._look()  # the encoder of new items is read from the folder, so a replaced one is loaded first
        numbers, ids = self.generation.catalogue.numbers, [item for item, _ in items]
        if known := next((one for place, one in enumerate(ids) if one in numbers or one in ids[:place]), None):
            raise KnownItemError(f"item {known!r} is known already; leave it out")
        generation = self.generation.with_items(items)
        self.store.add_items(items)
        self._replace(generation)
        return generation

    def _replace(self, generation: Generation) -> None:
        """Answer by another generation. Making it frees memory between tables that stay, which malloc would keep."""
        self.generation = generation
        return_freed_memory()

    def _origin(self, generation: Generation) -> Origin:
        return Origin(generation.network.stored, generation.catalogue.seen == "mask")

    def _opened_lists(self) -> TopKCache | None:
        """The kept lists, if they name items as this model does."""
        if self._settings.lists is None:
            return None
        try:
            cache = TopKCache(self._settings.lists)
            cache.check_items(Origin(self.generation.network.stored, True, digest(self.generation.trained_ids)))
        except (UserError, OSError) as error:
            self._complain("lists", f"the kept lists are not used: {error}")
            return None
        self._problems.pop("lists", None)
        return cache

    def _complain(self, about: str, problem: str) -> None:
        if self._problems.get(about) != problem:
            log.error("%s", problem)
        self._problems[about] = problem


def _with_those_that_fit(generation: Generation, items: NewItems) -> tuple[Generation, list[UserError]]:
    """A generation with the items that its export takes, and an error for each other one: halves are tried apart."""
    try:
        return generation.with_items(items), []
    except UserError as error:
        if len(items) == 1:
            return generation, [error]
    half = len(items) // 2
    generation, first = _with_those_that_fit(generation, items[:half])
    generation, rest = _with_those_that_fit(generation, items[half:])
    return generation, [*first, *rest]


def _stamps(folder: Path) -> Mapping[str, Stamp | None]:
    """Those of all files of a folder: a copy that was still being written is complete when they have changed."""
    return {str(file): _stamp(file) for file in sorted(folder.rglob("*"))}


def _stamp(file: str | Path | None) -> Stamp | None:
    """What changes when a file is replaced; None where there is none."""
    try:
        stat = None if file is None else Path(file).stat()
    except OSError:
        return None
    return None if stat is None else (stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size)
