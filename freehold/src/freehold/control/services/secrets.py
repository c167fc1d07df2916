"""Secrets: sealed before they are stored, opened only for the task that gets them. No error ever repeats a value."""

import json
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from freehold.control.services.environments import Environments
from freehold.domain.clock import Clock
from freehold.domain.creation import Creation
from freehold.domain.errors import AlreadyExists, Conflict, InvalidRequest, NotFound
from freehold.domain.ids import SecretId, new_secret_id
from freehold.domain.names import checked_name
from freehold.domain.secrets import Secret, checked_env
from freehold.store.keyring import Keyring
from freehold.store.ports import Store, Transaction

_ID_ALPHABET = string.ascii_letters + string.digits
_ID_LENGTH = 22


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedSecret:
    """A secret as a client names it; `env` is what to make it from."""

    environment: str
    name: str
    creation: Creation
    env: Mapping[str, str]
    app_id: str = ""
    required_keys: Sequence[str] = ()

    def __repr__(self) -> str:
        return f"WantedSecret({self.name!r})"


class Secrets:
    def __init__(self, *, store: Store, keyring: Keyring, environments: Environments, clock: Clock) -> None:
        self._store = store
        self._keyring = keyring
        self._environments = environments
        self._clock = clock

    async def get(self, secret_id: SecretId) -> Secret:
        async with self._store.transaction() as tx:
            return await tx.secrets.get(secret_id)

    async def get_or_create(self, wanted: WantedSecret) -> Secret:
        wanted = replace(wanted, environment=(await self._environments.get(wanted.environment)).name)
        if wanted.creation.is_anonymous:
            return await self._put_anonymous(wanted)
        async with self._store.transaction() as tx:
            found = await tx.secrets.find(wanted.environment, checked_name(wanted.name, "secret"))
            secret = await self._resolve(tx, wanted, found)
        _check_keys(secret, wanted.required_keys)
        return secret

    async def list(self, environment: str, *, limit: int, created_before: float) -> Sequence[Secret]:
        """Newest first. 0 stands for no limit, and for now."""
        space = await self._environments.get(environment)
        async with self._store.transaction() as tx:
            found = await tx.secrets.list(space.name)
        older = [secret for secret in found if not created_before or secret.created_at.timestamp() < created_before]
        return older[:limit] if limit else older

    async def update(self, secret_id: SecretId, changes: Mapping[str, str | None]) -> None:
        """Set these keys; None removes one."""
        async with self._store.transaction() as tx:
            secret = await tx.secrets.get(secret_id)
            if not secret.name:
                msg = "A secret made from a dict, a file or the environment cannot be changed. Make another one, or one with a name."
                raise Conflict(msg)
            env = {**self._open(secret), **changes}
            await tx.secrets.put(self._filled(secret, {key: value for key, value in env.items() if value is not None}))

    async def delete(self, secret_id: SecretId) -> None:
        async with self._store.transaction() as tx:
            await tx.secrets.get(secret_id)
            await tx.secrets.delete(secret_id)

    async def env_of(self, secret_ids: Sequence[SecretId]) -> dict[str, str]:
        """The variables of these secrets, later ones winning, for a task that starts now."""
        env: dict[str, str] = {}
        async with self._store.transaction() as tx:
            for secret_id in secret_ids:
                secret = await tx.secrets.get(secret_id)
                env |= self._open(secret)
                await tx.secrets.put(replace(secret, last_used_at=self._clock.now()))
        return env

    async def _resolve(self, tx: Transaction, wanted: WantedSecret, found: Secret | None) -> Secret:
        """The named secret that the creation type asks for."""
        match wanted.creation, found:
            case Creation.LOOK_UP, None:
                msg = (
                    f"No secret named {wanted.name!r} in environment {wanted.environment!r}. "
                    f"Create it with: modal secret create -e {wanted.environment} {wanted.name} KEY=VALUE"
                )
                raise NotFound(msg)
            case ((Creation.LOOK_UP | Creation.IF_MISSING), Secret() as existing):
                return existing
            case Creation.MUST_BE_NEW, Secret():
                msg = (
                    f"There is a secret named {wanted.name!r} in environment {wanted.environment!r} already. "
                    "Replace it with: modal secret create --force …"
                )
                raise AlreadyExists(msg)
        secret = self._filled(found or self._empty(new_secret_id(), wanted), wanted.env)
        await tx.secrets.put(secret)
        return secret

    async def _put_anonymous(self, wanted: WantedSecret) -> Secret:
        """Its id comes from a keyed hash of owner and content, so that every run of an app finds the same one again."""
        if wanted.name:
            msg = "A secret owned by an app has no name. Give it a name, or an owner."
            raise InvalidRequest(msg)
        content = json.dumps([wanted.environment, wanted.app_id, sorted(wanted.env.items())])
        secret = self._filled(self._empty(_id_from(self._keyring.fingerprint(content.encode())), wanted), wanted.env)
        async with self._store.transaction() as tx:
            await tx.secrets.put(secret)
        return secret

    def _empty(self, secret_id: SecretId, wanted: WantedSecret) -> Secret:
        return Secret(
            id=secret_id,
            environment=wanted.environment,
            name=wanted.name,
            keys=(),
            sealed=b"",
            created_at=self._clock.now(),
            app_id=wanted.app_id,
        )

    def _filled(self, secret: Secret, env: Mapping[str, str]) -> Secret:
        plain = json.dumps(dict(checked_env(env))).encode()
        return replace(secret, keys=tuple(sorted(env)), sealed=self._keyring.seal(plain))

    def _open(self, secret: Secret) -> dict[str, str]:
        env: dict[str, str] = json.loads(self._keyring.unseal(secret.sealed))
        return env


def _check_keys(secret: Secret, required: Iterable[str]) -> None:
    lacking = sorted(set(required) - set(secret.keys))
    if lacking:
        msg = f"Secret {secret.name!r} lacks the keys {', '.join(lacking)}; it has {', '.join(secret.keys) or 'none'}."
        raise NotFound(msg)


def _id_from(fingerprint: bytes) -> SecretId:
    number = int.from_bytes(fingerprint, "big")
    digits = []
    for _ in range(_ID_LENGTH):
        number, digit = divmod(number, len(_ID_ALPHABET))
        digits.append(_ID_ALPHABET[digit])
    return SecretId("st-" + "".join(digits))
