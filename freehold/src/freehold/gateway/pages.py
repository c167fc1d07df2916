"""The few HTML pages of the gateway itself, each complete in one response."""

from collections.abc import Mapping
from html import escape
from typing import Any

from starlette.responses import HTMLResponse

from freehold.observability.events import Event, Story

_LONGEST_FIELD = 200  # characters; the log has the rest
_STYLE = "body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem}dt{float:left;width:9rem;color:#666}td{padding-right:1.5rem;vertical-align:top}"


def page(title: str, *blocks: str, status: int = 200, headers: Mapping[str, str] | None = None) -> HTMLResponse:
    """`title` is text; each block is HTML."""
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    body = "".join((f"<h1>{escape(title)}</h1>", *blocks))
    return HTMLResponse(f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>', status, headers)


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def index(status: Mapping[str, Any]) -> HTMLResponse:
    return page(
        "Freehold",
        _facts(status),
        "<p><code>modal deploy app.py</code> deploys an app; <code>modal app list</code> shows what is deployed.</p>",
        '<p>The same status as JSON: <a href="/healthz">/healthz</a></p>',
    )


def story(story: Story) -> HTMLResponse:
    links = {name: f'<a href="{escape(url)}">{escape(url)}</a>' for name, url in story.links.items()}
    addresses = "".join(f"<dt>{escape(name)}</dt><dd>{link}</dd>" for name, link in links.items())
    rows = "".join(
        f"<tr><td>{event.at:%Y-%m-%d %H:%M:%S}</td><td>{escape(event.kind)}</td><td>{escape(_said_of(event))}</td></tr>"
        for event in story.events
    )
    why = [paragraph(sentence) for sentence in story.sentences]
    return page(story.title, *why, _facts(story.facts), f"<dl>{addresses}</dl>", f"<h2>What happened</h2><table>{rows}</table>")


def _said_of(event: Event) -> str:
    return " · ".join(filter(None, (event.cause, *(f"{name}={value[:_LONGEST_FIELD]}" for name, value in event.fields.items()))))


def _facts(facts: Mapping[str, Any]) -> str:
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items())
    return f"<dl>{items}</dl>"
