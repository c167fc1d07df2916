"""What every request for the pages passes: the host it means, who asks, and whether a change was asked for by one of these pages."""

from http import HTTPStatus
from urllib.parse import parse_qsl, quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from freehold.dashboard.access import COOKIE, ROOT, Access, Session, is_same
from freehold.domain.domains import finds_functions

SESSION = "freehold.session"  # in the scope: who asks
LASTS = "freehold.lasts"  # in the scope of what stays open: whether the session still counts
FORM = "freehold.form"  # in the scope: the fields of a change
_OPEN = (f"{ROOT}/login", f"{ROOT}/static/")
_SAFE = {"GET", "HEAD"}
_MOST_FORM = 256 * 1024  # bytes
_ELSEWHERE = (
    "The pages of the engine are shown at localhost and at {domain}: at other addresses functions' pages share the host with them. From another "
    "machine, take a tunnel (ssh -L 8980:127.0.0.1:8980 …), or give the engine a domain (FREEHOLD_DOMAIN) below which functions have names."
)
_FRAMES = {"iframe", "frame", "embed", "object"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, *, access: Access, domain: str) -> None:
        self._app = app
        self._access = access
        self._domain = domain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await (self._refusal_of_socket(HTTPConnection(scope)) or self._app)(scope, receive, send)
            return
        refusal = await self._refusal(Request(scope, receive))
        await (refusal or self._app)(scope, receive, _with_headers(scope, send))

    def _refusal_of_socket(self, connection: HTTPConnection) -> Response | None:
        """Any page of any site may open one, and the browser sends our cookie along: where it says that it comes from has to be here. Only
        then a handler may look for the word of the session, in the first message.
        """
        if not self._is_ours(connection.headers.get("host", "")):
            return self._elsewhere()
        cookie = connection.cookies.get(COOKIE, "")
        connection.scope[SESSION] = session = self._access.session(cookie)
        connection.scope[LASTS] = lambda: self._access.session(cookie) is not None
        if session is None:
            return _unauthorized()
        return None if _is_from_here(connection.headers) else _forged()

    async def _refusal(self, request: Request) -> Response | None:
        """None for what may pass; who asks, and what a change is to be, is in the scope then."""
        if not self._is_ours(request.headers.get("host", "")):
            return self._elsewhere()
        request.scope[SESSION] = session = session_of(self._access, request)
        is_open = _path(request.scope).startswith(_OPEN)
        if session is None and not is_open:
            return _to_login(request)
        if request.headers.get("sec-fetch-dest") in _FRAMES:
            return _forged()
        if request.method in _SAFE:
            return None
        form = await _form(request)
        if form is None:
            return PlainTextResponse("That is more than these pages take.", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        request.scope[FORM] = form
        said = request.headers.get("x-csrf-token") or form.get("csrf", "")
        is_program = _bearer(self._access, request) is not None
        is_meant = is_program or (_is_from_here(request.headers) and (is_open or session is None or is_same(said, session.csrf)))
        return None if is_meant else _forged()

    def _elsewhere(self) -> Response:
        return PlainTextResponse(_ELSEWHERE.format(domain=self._domain), HTTPStatus.MISDIRECTED_REQUEST)

    def _is_ours(self, host: str) -> bool:
        """Names of other people's domains may be made to mean this machine; they are not ours. And where functions have no hosts of their own,
        their pages are at this one, and could do here whatever their visitor may.
        """
        return finds_functions(host, self._domain)


def session_of(access: Access, request: Request) -> Session | None:
    """Whose login the request came with, as long as that counts."""
    return _bearer(access, request) or access.session(request.cookies.get(COOKIE, ""))


def _bearer(access: Access, request: Request) -> Session | None:
    return access.session_of_bearer(request.headers.get("authorization", ""))


async def _form(request: Request) -> dict[str, str] | None:
    """None if it is too long. Of a field that comes twice, the last."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MOST_FORM:
            return None
    return dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))


def _is_from_here(headers: Headers) -> bool:
    """Browsers say with each change which page asked for it."""
    if origin := headers.get("origin", ""):
        return urlsplit(origin).netloc == headers.get("host", "")
    return headers.get("sec-fetch-site", "") == "same-origin"


def _to_login(request: Request) -> Response:
    wants_page = "text/html" in request.headers.get("accept", "")
    if not wants_page:
        return _unauthorized()
    return RedirectResponse(f"{ROOT}/login?next={quote(_page_of(request), safe='')}", HTTPStatus.SEE_OTHER)


def _page_of(request: Request) -> str:
    """Which page is to be shown after the login: of a change, the one that it was asked for on."""
    if request.method not in _SAFE:
        return page_before(request)
    query = request.url.query
    return _path(request.scope) + (f"?{query}" if query else "")


def page_before(request: Request) -> str:
    """The path of the page of ours on which a change was asked for; empty if that is not known."""
    before = urlsplit(request.headers.get("referer", ""))
    is_ours = before.netloc == request.headers.get("host", "") and before.path.startswith(f"{ROOT}/") and "//" not in before.path
    return before.path if request.method not in _SAFE and is_ours else ""


def _unauthorized() -> Response:
    words = "Log in first, or send the workspace's token: Authorization: Bearer <id>:<secret>."
    challenge = {"WWW-Authenticate": 'Bearer realm="freehold"'}
    return JSONResponse({"error": "unauthorized", "detail": words}, HTTPStatus.UNAUTHORIZED, challenge)


def _forged() -> Response:
    return PlainTextResponse("This was not asked for by a page of this engine. Load the page again.", HTTPStatus.FORBIDDEN)


def _path(scope: Scope) -> str:
    return str(scope["path"])


def _with_headers(scope: Scope, send: Send) -> Send:
    caching = "public, max-age=3600" if _path(scope).startswith(f"{ROOT}/static/") else "no-store"

    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            headers["Cache-Control"] = caching
        await send(message)

    return answer
