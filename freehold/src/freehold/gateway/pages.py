"""What the gateway itself tells people, each page complete in one response."""

from collections.abc import Mapping
from html import escape

from starlette.responses import HTMLResponse

_STYLE = "body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem}dt{float:left;width:9rem;color:#666}td{padding-right:1.5rem;vertical-align:top}"


def page(title: str, *blocks: str, status: int = 200, headers: Mapping[str, str] | None = None) -> HTMLResponse:
    """`title` is text; each block is HTML."""
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    body = "".join((f"<h1>{escape(title)}</h1>", *blocks))
    return HTMLResponse(f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>', status, headers)


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"
