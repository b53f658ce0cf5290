"""The page and what it asks for, behind the same guard as the server's endpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query
from fastapi.responses import FileResponse, Response
from pydantic import Field
from starlette.middleware.trustedhost import TrustedHostMiddleware

from sage_pl.explorer.explorer import Explorer
from sage_pl.service.app import add_refusals
from sage_pl.service.guard import Guard
from sage_pl.service.metrics import Metrics
from sage_pl.service.schemas import History, Id, Strict, Text
from sage_pl.service.settings import Settings

PAGE = Path(__file__).parent / "page"
FILES = {  # of the page -> their type; no other file can be asked for
    "index.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    **dict.fromkeys(("main.js", "dom.js", "lists.js", "why.js", "map.js", "more.js"), "text/javascript; charset=utf-8"),
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}
Search = Annotated[str, Query(max_length=200)]


class ListsRequest(Strict):
    history: History
    user: Id | None = None
    answer: Id | None = None
    k: int = Field(10, ge=1, le=100)


class WhyRequest(Strict):
    run: Text
    history: History
    user: Id | None = None
    item: Id


class SimilarItemsRequest(Strict):
    run: Text
    item: Id


class SimilarUsersRequest(Strict):
    run: Text
    history: History


class NewItemRequest(Strict):
    run: Text
    texts: dict[Text, Text] = Field(max_length=20)
    k: int = Field(10, ge=1, le=100)


def create_app(explorer: Explorer, hosts: tuple[str, ...] = (), timeout: float = 120.0) -> FastAPI:
    """The application.

    Args:
        explorer: that answers.
        hosts: values of the header Host that are answered; empty for any.
        timeout: seconds for an answer; the first map takes longest.
    """
    app = FastAPI(title="sage-pl explore", docs_url=None, redoc_url=None, openapi_url=None)
    _add_questions(app, explorer)
    _add_files(app)
    add_refusals(app)
    settings = Settings(folder="", store="", timeout=timeout)
    app.add_middleware(Guard, settings=settings, metrics=Metrics(), paths=())
    if hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    return app


def _add_questions(app: FastAPI, explorer: Explorer) -> None:
    world = explorer.world

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/api/about")
    def about() -> dict[str, Any]:
        return explorer.about()

    @app.get("/api/items")
    def items(q: Search = "") -> list[dict[str, Any]]:
        return [explorer.item(row) for row in world.find_items(q, 12)]

    @app.get("/api/users")
    def users(q: Search = "") -> list[dict[str, Any]]:
        lengths = world.histories.lengths
        return [{"user": user, "items": int(lengths[world.user_rows[user]])} for user in world.find_users(q, 12)]

    @app.get("/api/history")
    def history(user: Id) -> dict[str, Any]:
        return explorer.history(user)

    @app.get("/api/map")
    def plane() -> dict[str, Any]:
        return explorer.map

    @app.post("/api/lists")
    def lists(body: ListsRequest) -> dict[str, Any]:
        return explorer.lists(body.history, body.user, body.answer, body.k)

    @app.post("/api/why")
    def why(body: WhyRequest) -> dict[str, Any]:
        return explorer.why(body.run, body.history, body.user, body.item)

    @app.post("/api/similar_items")
    def similar_items(body: SimilarItemsRequest) -> list[dict[str, Any]]:
        return explorer.similar_items(body.run, body.item)

    @app.post("/api/similar_users")
    def similar_users(body: SimilarUsersRequest) -> list[dict[str, Any]]:
        return explorer.similar_users(body.run, body.history)

    @app.post("/api/new_item")
    def new_item(body: NewItemRequest) -> dict[str, Any]:
        return explorer.new_item(body.run, body.texts, body.k)


def _add_files(app: FastAPI) -> None:
    @app.get("/")
    def front() -> FileResponse:
        return _file("index.html")

    @app.get("/page/{name}")
    def file(name: str) -> Response:
        return _file(name) if name in FILES else Response(status_code=404)

    @app.get("/favicon.ico")
    def icon() -> Response:
        return Response(status_code=204)


def _file(name: str) -> FileResponse:
    return FileResponse(PAGE / name, media_type=FILES[name], headers=_HEADERS)
