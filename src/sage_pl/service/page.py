"""A page that describes the endpoints, made from the OpenAPI document without any foreign source."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_STYLE = (Path(__file__).parent / "page.css").read_text()
_EXAMPLES = {
    "/recommend": {"history": ["ITEM", "ITEM"], "k": 5},
    "/similar": {"items": ["ITEM"], "k": 5},
    "/items": {"items": [{"item_id": "NEW-1", "title": "its text"}]},
    "/events": {"events": [{"user_id": "USER", "item_id": "ITEM"}]},
}


def page(document: Mapping[str, Any]) -> HTMLResponse:
    """The page of an OpenAPI document."""
    schemas = document["components"]["schemas"]
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{escape(document['info']['title'])}</title><style>{_STYLE}</style><main>"
        f"<h1>{escape(document['info']['title'])}</h1><p class=soft>{escape(document['info']['description'])} "
        f"Export {escape(document['info']['version'])}. <a href=openapi.json>OpenAPI document</a></p>"
    ]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts.append(
                f"<section><h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(operation['summary'])}.</p>"
            )
            parts += _bodies(operation, schemas)
            parts += [_example(path), "</section>"] if path in _EXAMPLES else ["</section>"]
    parts.append(
        "<h2>Refusals</h2><p>A request that cannot be answered gets a status of 4xx, or 503 while the server is busy, and "
        '<code>{"detail": "one sentence"}</code>.</p></main>'
    )
    return HTMLResponse(
        "".join(parts), headers={"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}
    )


def _bodies(operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[str]:
    for caption, holder in (("Request", operation.get("requestBody", {})), ("Answer", operation["responses"]["200"])):
        schema = holder.get("content", {}).get("application/json", {}).get("schema", {})
        if name := schema.get("$ref", "").rpartition("/")[2]:
            yield _table(caption, schemas[name], schemas)


def _table(caption: str, schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    rows = []
    for name, value in schema["properties"].items():
        about = value.get("description", "")
        default = "" if value.get("default") is None else f"default {json.dumps(value['default'])}"
        notes = "; ".join(filter(None, (about, default, *_limits(value))))
        rows.append(
            f"<tr><th scope=row><code>{escape(name)}</code></th><td>{_kind(value)}</td><td>{escape(notes)}</td></tr>"
        )
        rows += [_parts(name, value, schemas)]
    head = "<thead><tr><th scope=col>name</th><th scope=col>type</th><th scope=col>meaning</th></tr></thead>"
    return f"<div class=scroll><table><caption>{caption}</caption>{head}<tbody>{''.join(rows)}</tbody></table></div>"


def _parts(name: str, value: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    """The names inside the entries of a list."""
    part = value.get("items", {}).get("$ref", "").rpartition("/")[2]
    if not part:
        return ""
    inner = ", ".join(f"<code>{escape(key)}</code>" for key in schemas[part]["properties"])
    return f"<tr><td></td><td></td><td><small>each of {escape(name)}: {inner}</small></td></tr>"


def _kind(value: Mapping[str, Any]) -> str:
    options = [one for one in value.get("anyOf", [value]) if one.get("type") != "null"]
    one = options[0]
    if "enum" in one:
        return " or ".join(f"<code>{escape(str(choice))}</code>" for choice in one["enum"])
    if one.get("type") == "array":
        inner = one.get("items", {})
        return f"list of {'lists' if inner.get('type') == 'array' else escape(inner.get('type', 'objects'))}"
    return escape(one.get("type", "object"))


def _limits(value: Mapping[str, Any]) -> Iterator[str]:
    names = {"maxItems": "at most {} entries", "maxLength": "at most {} characters", "minimum": "at least {}"}
    for one in value.get("anyOf", [value]):
        yield from (text.format(f"{one[key]:,}") for key, text in names.items() if key in one)


def _example(path: str) -> str:
    body = json.dumps(_EXAMPLES[path])
    return f"<pre>curl -H 'Content-Type: application/json' -d '{escape(body)}' http://127.0.0.1:8000{path}</pre>"
