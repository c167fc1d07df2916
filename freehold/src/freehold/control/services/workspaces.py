"""The workspace: there is one, that of the engine's owner."""

from datetime import timedelta

from freehold.config import Settings
from freehold.control.caller import Caller
from freehold.domain.environments import builder_version_for
from freehold.domain.errors import Unauthenticated
from freehold.store.keyring import Keyring

_AUTH = "auth"
_TOKEN_LIFE = timedelta(hours=1)  # clients renew theirs at half its life


class Workspaces:
    def __init__(self, *, settings: Settings, keyring: Keyring) -> None:
        self.name = settings.workspace
        self._newest_builder = settings.image_builder_version
        self._keyring = keyring

    @property
    def id(self) -> str:
        return f"ac-{self.name}"

    @property
    def token_id(self) -> str:
        """Of the one token that clients of this engine use."""
        return self._keyring.token_id

    def builder_version(self, caller: Caller) -> str:
        """Of images, as this caller's client should build them."""
        return builder_version_for(caller.client_version, self._newest_builder)

    def auth_token(self) -> str:
        """A short-lived proof of having a token, for the services beside the control plane."""
        return self._keyring.sign({"op": _AUTH, "workspace": self.name}, _TOKEN_LIFE)

    def admits(self, token: str) -> bool:
        """Whether a bearer token is the client's own, `<id>:<secret>` or `<id>.<secret>`, or a proof of it that has not expired."""
        first, separator, rest = token.partition(":" if ":" in token else ".")
        if separator and self._keyring.accepts(first, rest):
            return True
        try:
            return self._keyring.verify(token).get("op") == _AUTH
        except Unauthenticated:
            return False
