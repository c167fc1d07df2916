"""The page on which the owner of the engine confirms that a client gets a token."""

from html import escape
from typing import Protocol
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from freehold.domain.errors import InvalidRequest, PermissionDenied
from freehold.domain.ids import TokenFlowId
from freehold.domain.tokens import PAGE_PATH
from freehold.gateway.pages import page, paragraph

_MOST_BYTES = 4096
# Nothing of the page is kept, shown within another, or told to where its links lead.
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
_FORM = """<form method="post" autocomplete="off">
<p><label>The code that it shows<br><input name="code" required autofocus size="12" placeholder="ABCD-2345"></label></p>
<p><label>What shows that this engine is yours: a one-time code, which <code>freehold tokens code</code> prints on the engine's machine,
or a token of this engine, as <code>id:secret</code><br><input name="proof" type="password" required size="48"></label></p>
<p><label>A name for the new token, if you like<br><input name="name" maxlength="100" size="24"></label></p>
<p><button>Give it a token</button></p>
</form>"""
_ELSE = '<p>Who is logged in to <a href="/dash/tokens">the pages of the engine</a> needs the first code only, there. In a terminal on the engine\'s machine the same is <code>freehold tokens confirm CODE</code>.</p>'


class Flow(Protocol):
    is_confirmed: bool


class TokenFlows(Protocol):
    def get(self, flow_id: TokenFlowId) -> Flow:
        """Raises NotFound for one that is over."""
        ...

    def confirm(self, flow_id: TokenFlowId, *, code: str, proof: str, name: str = "") -> Flow:
        """Raises PermissionDenied unless code and proof are right."""
        ...


class TokenRoutes:
    def __init__(self, flows: TokenFlows) -> None:
        self._flows = flows
        self.routes = [
            Route(PAGE_PATH, self._ask, methods=["GET"]),
            Route(PAGE_PATH, self._confirm, methods=["POST"]),
        ]

    async def _ask(self, request: Request) -> Response:
        return _done() if self._flows.get(_flow_id(request)).is_confirmed else _form()

    async def _confirm(self, request: Request) -> Response:
        fields = await _fields(request)
        try:
            self._flows.confirm(_flow_id(request), code=fields.get("code", ""), proof=fields.get("proof", ""), name=fields.get("name", ""))
        except (PermissionDenied, InvalidRequest) as error:
            return _form(str(error), status=403)
        return _done()


def _flow_id(request: Request) -> TokenFlowId:
    return TokenFlowId(request.path_params["flow_id"])


def _form(refusal: str = "", status: int = 200) -> Response:
    asked = paragraph(
        "A client of this engine asks for a token. Whoever has it may do everything here: deploy, read secrets, take tokens away."
    )
    refused = f'<p role="alert"><strong>{escape(refusal)}</strong></p>' if refusal else ""
    return page("A new token?", asked, refused, _FORM, _ELSE, status=status, headers=_HEADERS)


def _done() -> Response:
    return page("Confirmed", paragraph("The client has its token. You can close this page."), headers=_HEADERS)


async def _fields(request: Request) -> dict[str, str]:
    """Of a form, each once."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _MOST_BYTES:
            msg = "This is more than the form has."
            raise InvalidRequest(msg)
    try:
        return {name: values[-1] for name, values in parse_qs(body.decode()).items()}
    except ValueError as error:
        msg = "The form cannot be read."
        raise InvalidRequest(msg) from error
