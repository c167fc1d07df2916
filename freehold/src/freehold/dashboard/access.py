"""Who may see the pages: whoever has the workspace's token, or a link that works once. Then a signed cookie says so.

The cookie goes to the pages' own folder only: functions can be reached at other paths of the same host, and their code must not get it.
"""

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from freehold.control.services.tokens import Tokens
from freehold.domain.clock import Clock
from freehold.domain.errors import Unauthenticated
from freehold.store.keyring import Keyring

ROOT = "/dash"
COOKIE = "freehold_session"
STORY = "tokens"  # whose events are those of tokens and sessions: what was revoked has no page of its own
SESSION_LIFE = timedelta(hours=12)
LINK_LIFE = timedelta(minutes=10)
_OPERATION = "dashboard"
_MOST = 1000  # links that nobody has used yet, and sessions that were ended
_LONGEST = 4096  # characters of anything that is looked at here


@dataclass(frozen=True, slots=True)
class Session:
    """`actor` is how events name whoever acts."""

    id: str
    csrf: str

    @property
    def actor(self) -> str:
        return f"the owner, in the dashboard (session {self.id[:6]})"


class Access:
    def __init__(self, *, keyring: Keyring, tokens: Tokens, clock: Clock) -> None:
        self._keyring = keyring
        self._tokens = tokens
        self._clock = clock
        self._links: OrderedDict[str, datetime] = OrderedDict()  # until when each may be used
        self._ended: OrderedDict[str, None] = OrderedDict()

    def new_link(self) -> str:
        """The path of a page that lets one visitor in, once, within ten minutes."""
        word = secrets.token_urlsafe(32)
        self._links[word] = self._clock.now() + LINK_LIFE
        _bound(self._links)
        return f"{ROOT}/login?link={word}"

    def admit_by_link(self, word: str) -> str | None:
        """A cookie's value, if the link is one of ours, not too old and was not used before."""
        until = self._links.pop(word, None)
        return self._begin(self._keyring.token_id) if until is not None and self._clock.now() < until else None

    def admit_by_token(self, token_id: str, secret: str) -> str | None:
        """A cookie's value. The whole token, `<id>:<secret>`, may be in the second field too."""
        token_id, secret = _halves(secret) if ":" in secret else (token_id, secret)
        is_right = len(token_id) + len(secret) <= _LONGEST and self._tokens.accepts(token_id, secret)
        return self._begin(token_id) if is_right else None

    def session(self, cookie: str) -> Session | None:
        try:
            claims = self._keyring.verify(cookie) if 0 < len(cookie) <= _LONGEST else {}
        except Unauthenticated:
            return None
        session_id = str(claims.get("sid", ""))
        if claims.get("op") != _OPERATION or not session_id or session_id in self._ended:
            return None
        return self._session(session_id) if self._tokens.still_counts(str(claims.get("token", ""))) else None

    def session_of_bearer(self, authorization: str) -> Session | None:
        """For programs: the token itself with every request."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not self._tokens.admits(token.strip()):
            return None
        return self._session("program")

    def end(self, session: Session) -> None:
        self._ended[session.id] = None
        _bound(self._ended)

    def _begin(self, token_id: str) -> str:
        """A session ends with the token that it was begun with."""
        claims = {"op": _OPERATION, "sid": secrets.token_urlsafe(16), "token": self._tokens.key_of(token_id)}
        return self._keyring.sign(claims, SESSION_LIFE)

    def _session(self, session_id: str) -> Session:
        return Session(session_id, self._keyring.fingerprint(f"csrf {session_id}".encode()).hex())


def is_same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())


def _halves(token: str) -> tuple[str, str]:
    first, _, rest = token.strip().partition(":")
    return first, rest


def _bound(held: "OrderedDict[str, datetime] | OrderedDict[str, None]") -> None:
    while len(held) > _MOST:
        held.popitem(last=False)


LinkMaker = Callable[[], str]
