"""The form of requests and answers; what does not fit is refused before anything reads it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Id = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]
Text = Annotated[str, StringConstraints(max_length=10_000)]
History = Annotated[list[Id], Field(max_length=1000)]
Time = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]


_COLUMNS = 64  # of new items: a table has a cell for each item and column


class Strict(BaseModel):
    """A name that does not exist is refused, so that a misspelt one is no silent default."""

    model_config = ConfigDict(extra="forbid", strict=True)


class RecommendRequest(Strict):
    """For whom: one of the four."""

    user: Id | None = Field(None, description="a user with events")
    users: list[Id] | None = Field(None, min_length=1, max_length=256, description="several of them")
    history: History | None = Field(None, description="item ids, oldest first; empty for a new user")
    histories: list[History] | None = Field(None, min_length=1, max_length=256, description="several of them")
    k: int = Field(10, ge=1, description="items of each list")
    seen: Literal["mask", "keep"] | None = Field(None, description="items of the history; null as in the evaluation")
    candidates: list[Id] | None = Field(None, min_length=1, max_length=10_000, description="the only items listed")
    exclude: list[Id] | None = Field(None, max_length=10_000, description="items never listed")

    @model_validator(mode="after")
    def one_of_four(self) -> Self:
        names = ("user", "users", "history", "histories")
        if sum(getattr(self, name) is not None for name in names) != 1:
            raise ValueError("wanted one of user, users, history and histories")
        return self


class SimilarRequest(Strict):
    """Items near one item, or near the mean of several."""

    items: list[Id] = Field(min_length=1, max_length=100, description="item ids")
    k: int = Field(10, ge=1, description="items of the list")


class NewItem(BaseModel):
    """An item by its text: the columns that the data set had, such as ``title``."""

    model_config = ConfigDict(extra="allow", strict=True)
    __pydantic_extra__: dict[str, Text] = Field(init=False)

    item_id: Id


class ItemsRequest(Strict):
    items: list[NewItem] = Field(min_length=1, max_length=200)

    @model_validator(mode="after")
    def few_columns(self) -> Self:
        names = {name for item in self.items for name in item.__pydantic_extra__}
        if len(names) > _COLUMNS:
            raise ValueError(f"the items have {len(names)} different columns, wanted at most {_COLUMNS}")
        return self


class Event(Strict):
    user_id: Id
    item_id: Id
    timestamp: Time | None = Field(None, description="Unix seconds; null for now")


class EventsRequest(Strict):
    events: list[Event] = Field(min_length=1, max_length=1000)


class Item(BaseModel):
    id: str
    title: str
    score: float


class RankedItems(BaseModel):
    items: list[Item] = Field(description="best first")
    source: Literal["live", "lists"] = Field(description="computed now, or a kept list that is up to date")


class RecommendResponse(BaseModel):
    model: str = Field(description="the export's name: a hash of its files")
    lists: list[RankedItems] = Field(description="one for each user or history")


class SimilarResponse(BaseModel):
    model: str
    items: list[Item] = Field(description="by the cosine of the scored vectors")


class ItemsResponse(BaseModel):
    added: int
    items: int = Field(description="that the model knows now")


class EventsResponse(BaseModel):
    added: int
    known: int = Field(description="events of equal user, item and time that were there already")
    unknown_items: list[str] = Field(description="ids that the model does not know; they count once the item is added")


class Health(BaseModel):
    status: Literal["ok", "degraded"]
    model: str
    items: int
    users: int = Field(description="with events")
    problem: str | None = Field(None, description="of a newer export or file of lists; the earlier one answers")


class Refusal(BaseModel):
    detail: str = Field(description="one sentence")
