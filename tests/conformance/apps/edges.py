"""Web functions at domains of their own, and behind proxy tokens."""

from typing import Any

import modal

app = modal.App("edges")


@app.function()
@modal.asgi_app(custom_domains=["api.example.com", "*.wild.example.com"])
def at_home() -> Any:
    return _asgi


@app.function()
@modal.fastapi_endpoint(requires_proxy_auth=True)
def guarded() -> str:
    return "come in"


async def _asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Tells how it was reached."""
    headers = {name.decode(): value.decode() for name, value in scope.get("headers", [])}
    told = f"{scope['scheme']} {headers.get('host')} {scope['client'][0]} {headers.get('x-forwarded-for', '')}"
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": told})
        await send({"type": "websocket.close"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": told.encode()})
