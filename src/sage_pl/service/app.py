"""The endpoints of a server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from sage_pl.errors import SettingError, UserError
from sage_pl.escaping import visible
from sage_pl.service import schemas
from sage_pl.service.batching import Batcher, BusyError
from sage_pl.service.generation import Generation, Query, UnknownItemError
from sage_pl.service.guard import Guard
from sage_pl.service.live import Live
from sage_pl.service.metrics import CONTENT_TYPE, Metrics
from sage_pl.service.page import page
from sage_pl.service.settings import Settings
from sage_pl.service.state import KnownItemError, StoreError
from sage_pl.serving import Recommendation

log = logging.getLogger(__name__)
_LISTS = 32  # of the largest k in one answer
_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.Refusal} for status in (400, 401, 404, 408, 409, 413, 415, 422, 503)
}


class UnknownUserError(UserError):
    """A user without events."""


class Service:
    """The parts behind the endpoints.

    Args:
        settings: of the server.

    Raises:
        UserError: the folder or the store cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.live = Live(settings, self.metrics.reloads.inc)
        self.batcher = Batcher(settings.most, settings.waiting, self.metrics.batches.observe)

    async def recommend(self, body: schemas.RecommendRequest) -> schemas.RecommendResponse:
        """Lists by one generation for all users or histories of a request."""
        self._check_k(body.k)
        try:
            return await self._lists(body, self.live.generation)
        except UnknownItemError:
            await self.live.catch_up()  # another process may have added the item
            return await self._lists(body, self.live.generation)

    async def _lists(self, body: schemas.RecommendRequest, generation: Generation) -> schemas.RecommendResponse:
        candidates = None if body.candidates is None else frozenset(generation.rows(body.candidates))
        exclude = frozenset(generation.rows(body.exclude or ()))
        if candidates is not None and candidates <= exclude:
            raise SettingError("candidates and exclude leave no item; name fewer in exclude or more in candidates")
        mask = (body.seen or generation.catalogue.seen) == "mask"
        free = candidates is None and not exclude and body.seen in (None, generation.catalogue.seen)

        async def one(user: str | None, history: Sequence[str] | None) -> schemas.RankedItems:
            if user is None:
                rows = generation.rows(history or ())
            elif events := self.live.store.history(user):
                rows = generation.known_rows(events)
                if free and (kept := self.live.kept(user, rows, body.k, generation)) is not None:
                    return self._ranked(kept, "lists")
            else:
                raise UnknownUserError(
                    f"no events of user {user!r} are known; POST /events adds them, and history=[] asks for a new user"
                )
            query = Query(generation, rows, generation.user(user), body.k, mask, candidates, exclude)
            return self._ranked(await self.batcher.ask(query), "live")

        whom: list[tuple[str | None, Sequence[str] | None]] = [(user, None) for user in body.users or ()]
        whom += [(None, history) for history in body.histories or ()]
        if not whom:
            whom = [(body.user, body.history)]
        self._check_size(len(whom), body.k)
        lists = await asyncio.gather(*(one(*each) for each in whom))
        return schemas.RecommendResponse(model=generation.version, lists=lists)

    async def similar(self, body: schemas.SimilarRequest) -> schemas.SimilarResponse:
        self._check_k(body.k)
        generation = self.live.generation
        try:
            rows = generation.rows(body.items)
        except UnknownItemError:
            await self.live.catch_up()
            generation = self.live.generation
            rows = generation.rows(body.items)
        best = await self.batcher.call(generation.similar, rows, body.k)
        return schemas.SimilarResponse(model=generation.version, items=_items(best))

    async def add_items(self, body: schemas.ItemsRequest) -> schemas.ItemsResponse:
        new = [(item.item_id.strip(), dict(item.__pydantic_extra__ or {})) for item in body.items]
        generation = await self.live.add_items(new)
        self.metrics.items.inc(len(new))
        return schemas.ItemsResponse(added=len(new), items=generation.n_items)

    async def add_events(self, body: schemas.EventsRequest) -> schemas.EventsResponse:
        events = [(event.user_id, event.item_id, event.timestamp) for event in body.events]
        added = await self.live.add_events(events)
        self.metrics.events.inc(added)
        numbers = self.live.generation.catalogue.numbers
        unknown = sorted({item for _, item, _ in events if item not in numbers})
        return schemas.EventsResponse(added=added, known=len(events) - added, unknown_items=unknown)

    async def health(self) -> schemas.Health:
        generation, problem, users = self.live.generation, self.live.problem, 0
        try:
            users, _ = await asyncio.to_thread(self.live.store.counts)
        except StoreError as error:
            problem = problem or str(error)
        return schemas.Health(
            status="ok" if problem is None else "degraded",
            model=generation.version,
            items=generation.n_items,
            users=users,
            problem=problem,
        )

    def _check_k(self, k: int) -> None:
        if k > self.settings.max_k:
            raise SettingError(f"k is {k}, wanted at most {self.settings.max_k}; ask for fewer items")

    def _check_size(self, lists: int, k: int) -> None:
        """A larger answer would keep the others waiting for more than a moment while it is written."""
        most = _LISTS * self.settings.max_k
        if lists * k > most:
            raise SettingError(f"{lists} lists of {k} items are more than {most:,} items; ask for fewer at once")

    def _ranked(self, items: Sequence[Recommendation], source: Any) -> schemas.RankedItems:
        self.metrics.lists.labels(source).inc()
        return schemas.RankedItems(items=_items(items), source=source)


def create_app(settings: Settings) -> FastAPI:
    """The application; the model is loaded before it returns.

    Raises:
        UserError: the folder or the store cannot be used.
    """
    service = Service(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.batcher.start()
        service.live.start()
        yield
        await service.batcher.stop()
        await service.live.stop()

    app = FastAPI(
        title="sage-pl serve",
        version=service.live.generation.version,
        description="Recommendations of one trained model.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses=_REFUSALS,
    )
    _add_endpoints(app, service)
    add_refusals(app)
    paths = [route.path for route in app.routes if hasattr(route, "path")]
    app.add_middleware(Guard, settings=settings, metrics=service.metrics, paths=paths)
    if settings.hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(settings.hosts), www_redirect=False)
    return app


def handed_over() -> FastAPI:
    """The application of a worker process."""
    import torch

    torch.set_num_threads(1)
    return create_app(Settings.handed_over())


def _add_endpoints(app: FastAPI, service: Service) -> None:
    @app.post("/recommend", summary="The best items for users or after histories")
    async def recommend(body: schemas.RecommendRequest) -> schemas.RecommendResponse:
        return await service.recommend(body)

    @app.post("/similar", summary="Items near an item, or near the mean of several")
    async def similar(body: schemas.SimilarRequest) -> schemas.SimilarResponse:
        return await service.similar(body)

    @app.post("/items", summary="Add items by their text; nothing is trained")
    async def items(body: schemas.ItemsRequest) -> schemas.ItemsResponse:
        return await service.add_items(body)

    @app.post("/events", summary="Append events to the histories of users")
    async def events(body: schemas.EventsRequest) -> schemas.EventsResponse:
        return await service.add_events(body)

    @app.get("/health", summary="Whether the server answers, and by which export")
    async def health() -> schemas.Health:
        return await service.health()

    @app.get("/metrics", summary="Counters in the format of Prometheus", response_class=Response)
    async def metrics() -> Response:
        return Response(await asyncio.to_thread(service.metrics.text), media_type=CONTENT_TYPE)

    @app.get("/", include_in_schema=False)
    async def front() -> HTMLResponse:
        return page(app.openapi())


def add_refusals(app: FastAPI) -> None:
    """Every error of the client is one sentence."""

    def handler(status: int) -> Any:
        async def refuse(request: Request, error: Exception) -> JSONResponse:
            return _refusal(status, str(error))

        return refuse

    for kind, status in (
        (UnknownUserError, 404),
        (KnownItemError, 409),
        (UserError, 422),
        (StoreError, 503),
        (BusyError, 503),
    ):
        app.add_exception_handler(kind, handler(status))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:]) or "the body"
        return _refusal(422, f"{place}: {first['msg']}; GET / describes every endpoint")

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        reasons = {404: "there is no such path", 405: "this path takes another method"}
        return _refusal(
            error.status_code, f"{reasons.get(error.status_code, error.detail)}; GET / describes every endpoint"
        )


def _refusal(status: int, reason: str) -> JSONResponse:
    headers = {"Retry-After": "1"} if status == 503 else None
    return JSONResponse({"detail": visible(" ".join(reason.split()))[:1000]}, status, headers)


def _items(ranked: Sequence[Recommendation]) -> list[schemas.Item]:
    return [schemas.Item(id=item.id, title=item.title, score=item.score) for item in ranked]
