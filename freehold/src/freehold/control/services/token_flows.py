"""Requests for tokens by clients that have none (`modal token new`, `modal setup`), until the engine's owner confirms them.

A request counts as confirmed by whoever types the code that the client shows, and proves to be the owner: by asking through the home
(`freehold tokens confirm`), with a one-time code that the home gives (`freehold tokens code`), or with a token that the engine knows. All of
it is in memory, and over after some minutes.
"""

import hmac
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from freehold.control.services.tokens import Tokens
from freehold.control.wakeups import Wakeup
from freehold.domain import tokens as rules
from freehold.domain.clock import Clock
from freehold.domain.errors import NotFound, PermissionDenied, ResourceExhausted
from freehold.domain.ids import TokenFlowId, new_token_flow_id
from freehold.domain.tokens import Token

LIFE = timedelta(minutes=10)
_MOST_FLOWS = 100  # nobody knows yet who asks
_MOST_TRIES = 5  # of one request
_MOST_MISSES = 20  # wrong one-time codes, after which those that were given count no more: a guess hits one in 2^40
_MOST_CODES = 20
_LONGEST_WAIT = 60.0  # seconds


@dataclass(kw_only=True)
class TokenFlow:
    """`code` is what the client shows to the person in front of it, `wait_secret` what only that client has."""

    id: TokenFlowId
    code: str
    wait_secret: str
    asked_at: datetime
    lifetime: int  # seconds of the token; 0: for ever
    tries_left: int = _MOST_TRIES
    is_confirmed: bool = False
    name: str = ""
    changed: Wakeup = field(default_factory=Wakeup)


class TokenFlows:
    def __init__(self, *, tokens: Tokens, clock: Clock) -> None:
        self._tokens = tokens
        self._clock = clock
        self._flows: dict[TokenFlowId, TokenFlow] = {}
        self._codes: dict[str, datetime] = {}  # one-time codes, and when each ends
        self._misses = 0

    # The client that asks.

    def begin(self, lifetime: int = 0) -> TokenFlow:
        self._expire()
        if len(self._flows) >= _MOST_FLOWS:
            msg = f"{_MOST_FLOWS} requests for tokens wait for being confirmed. Try again in {LIFE.total_seconds() / 60:.0f} minutes."
            raise ResourceExhausted(msg)
        now = self._clock.now()
        rules.expiry(lifetime, now)
        flow = TokenFlow(id=new_token_flow_id(), code=_code(), wait_secret=secrets.token_urlsafe(32), asked_at=now, lifetime=lifetime)
        self._flows[flow.id] = flow
        return flow

    async def wait(self, flow_id: TokenFlowId, wait_secret: str, seconds: float) -> tuple[Token, str] | None:
        """The token and its secret, once the request is confirmed; None if it is not within that time. It is told once."""
        flow = self.get(flow_id)
        if not hmac.compare_digest(flow.wait_secret.encode(), wait_secret.encode()):
            msg = "Only the client that asked for this token gets it."
            raise PermissionDenied(msg)
        generation = flow.changed.generation
        if not flow.is_confirmed:
            await flow.changed.wait(generation, min(seconds, _LONGEST_WAIT))
        if not flow.is_confirmed or self._flows.pop(flow.id, None) is None:
            return None
        return await self._tokens.create(flow.name, flow.lifetime)

    # The owner.

    def get(self, flow_id: TokenFlowId) -> TokenFlow:
        self._expire()
        if flow := self._flows.get(flow_id):
            return flow
        msg = "This request for a token is over, or was never made. Run `modal token new` again."
        raise NotFound(msg)

    def waiting(self) -> list[TokenFlow]:
        self._expire()
        return [flow for flow in self._flows.values() if not flow.is_confirmed]

    def confirm_as_owner(self, code: str, name: str = "") -> TokenFlow:
        """By somebody who is known to be the owner already."""
        for flow in self.waiting():
            if hmac.compare_digest(flow.code, rules.as_typed(code)):
                return self._confirm(flow, name)
        msg = f"No client that waits for a token shows the code {rules.as_typed(code)}. `modal token new` prints it."
        raise NotFound(msg)

    def confirm(self, flow_id: TokenFlowId, *, code: str, proof: str, name: str = "") -> TokenFlow:
        """`proof` is a one-time code of the home, or a token of a client. Raises PermissionDenied, with how many tries are left."""
        flow = self.get(flow_id)
        rules.checked_name(name)
        if not hmac.compare_digest(flow.code, rules.as_typed(code)):
            raise self._refusal(flow, "This is not the code that `modal token new` shows.")
        if not self._proves(proof.strip()):
            raise self._refusal(flow, "This is neither a one-time code of `freehold tokens code` nor a token of this engine.")
        return self._confirm(flow, name)

    def one_time_code(self) -> str:
        """With which whoever has it confirms one request, within ten minutes."""
        self._expire()
        if len(self._codes) >= _MOST_CODES:
            msg = f"{_MOST_CODES} one-time codes are out already. Each ends after {LIFE.total_seconds() / 60:.0f} minutes."
            raise ResourceExhausted(msg)
        code = _code()
        self._codes[code] = self._clock.now() + LIFE
        return code

    def _confirm(self, flow: TokenFlow, name: str) -> TokenFlow:
        flow.name = rules.checked_name(name)
        flow.is_confirmed = True
        flow.changed.notify()
        return flow

    def _proves(self, proof: str) -> bool:
        if self._tokens.accepts_pair(proof):
            return True
        if self._codes.pop(rules.as_typed(proof), None) is not None:
            return True
        self._misses += 1
        if self._misses >= _MOST_MISSES:
            self._codes.clear()
            self._misses = 0
        return False

    def _refusal(self, flow: TokenFlow, reason: str) -> PermissionDenied:
        flow.tries_left -= 1
        if flow.tries_left:
            return PermissionDenied(f"{reason} {flow.tries_left} more {'try' if flow.tries_left == 1 else 'tries'}.")
        del self._flows[flow.id]
        return PermissionDenied(f"{reason} That was the last try: run `modal token new` again.")

    def _expire(self) -> None:
        now = self._clock.now()
        for flow in [flow for flow in self._flows.values() if now >= flow.asked_at + LIFE]:
            del self._flows[flow.id]
        self._codes = {code: ends_at for code, ends_at in self._codes.items() if now < ends_at}


def _code() -> str:
    return rules.code_of(secrets.token_bytes(8))
