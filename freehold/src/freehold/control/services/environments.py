"""Environments: the default one made on first use, others by name."""

from collections.abc import Sequence
from dataclasses import replace

from freehold.config import Settings
from freehold.control.caller import Caller
from freehold.domain.clock import Clock
from freehold.domain.creation import Creation
from freehold.domain.environments import (
    DEFAULT_ENVIRONMENT,
    Environment,
    builder_version_for,
    checked_environment_name,
    checked_web_suffix,
    free_web_suffix,
)
from freehold.domain.errors import AlreadyExists, Conflict
from freehold.domain.ids import new_environment_id
from freehold.store.ports import Store, Transaction


class Environments:
    def __init__(self, *, store: Store, clock: Clock, settings: Settings) -> None:
        self._store = store
        self._clock = clock
        self._newest_builder = settings.image_builder_version

    async def get(self, name: str) -> Environment:
        """By name; the default one for an empty name."""
        async with self._store.transaction() as tx:
            return await self._get(tx, name or DEFAULT_ENVIRONMENT)

    async def get_or_create(self, name: str, creation: Creation) -> Environment:
        if creation is Creation.LOOK_UP:
            return await self.get(name)
        async with self._store.transaction() as tx:
            found = await tx.environments.find(name or DEFAULT_ENVIRONMENT)
            if found is not None and creation is Creation.MUST_BE_NEW:
                msg = f"There is an environment named {name!r} already. `modal environment list` shows all."
                raise AlreadyExists(msg)
            return found or await self._create(tx, name or DEFAULT_ENVIRONMENT)

    async def list(self) -> Sequence[Environment]:
        async with self._store.transaction() as tx:
            await self._get(tx, DEFAULT_ENVIRONMENT)
            return await tx.environments.list()

    async def update(self, name: str, *, new_name: str | None, web_suffix: str | None) -> Environment:
        """None leaves a value as it is. Web addresses follow at the next deployment."""
        async with self._store.transaction() as tx:
            environment = await self._get(tx, name)
            if web_suffix is not None and web_suffix != environment.web_suffix:
                environment = replace(environment, web_suffix=checked_web_suffix(web_suffix, await _suffixes(tx)))
            if new_name is not None and new_name != environment.name:
                environment = await self._renamed(tx, environment, new_name)
            await tx.environments.put(environment)
            return environment

    async def delete(self, name: str) -> None:
        """With its secrets and volumes. Refused while apps run in it: stopping them is not undone by a typing error."""
        async with self._store.transaction() as tx:
            environment = await self._get(tx, name)
            _check_not_default(environment, "deleted")
            live = [app for app in await tx.apps.list(environment.name) if app.is_live]
            if live:
                names = ", ".join(sorted(app.name or app.id for app in live)[:5])
                msg = f"Environment {name!r} has live apps: {names}. Stop each with: modal app stop -e {name} <app>"
                raise Conflict(msg)
            for secret in await tx.secrets.list(environment.name):
                await tx.secrets.delete(secret.id)
            for volume in await tx.volumes.list(environment.name):
                await tx.volumes.put(replace(volume, name=""))  # ephemeral from now on, and of nobody: it will expire
            await tx.environments.delete(environment.name)

    def builder_version(self, caller: Caller) -> str:
        """Of images, as this caller's client should build them."""
        return builder_version_for(caller.client_version, self._newest_builder)

    async def _get(self, tx: Transaction, name: str) -> Environment:
        if name != DEFAULT_ENVIRONMENT:
            return await tx.environments.get(name)
        return await tx.environments.find(name) or await self._create(tx, name)

    async def _create(self, tx: Transaction, name: str) -> Environment:
        suffix = "" if name == DEFAULT_ENVIRONMENT else free_web_suffix(name, await _suffixes(tx))
        environment = Environment(
            id=new_environment_id(),
            name=checked_environment_name(name),
            created_at=self._clock.now(),
            web_suffix=suffix,
        )
        await tx.environments.put(environment)
        return environment

    async def _renamed(self, tx: Transaction, environment: Environment, name: str) -> Environment:
        _check_not_default(environment, "renamed")
        if await tx.environments.find(checked_environment_name(name)) is not None or name == DEFAULT_ENVIRONMENT:
            msg = f"There is an environment named {name!r} already."
            raise AlreadyExists(msg)
        for app in await tx.apps.list(environment.name):
            await tx.apps.put(replace(app, environment=name))
        for secret in await tx.secrets.list(environment.name):
            await tx.secrets.put(replace(secret, environment=name))
        for volume in await tx.volumes.list(environment.name):
            await tx.volumes.put(replace(volume, environment=name))
        return replace(environment, name=name)


async def _suffixes(tx: Transaction) -> set[str]:
    return {"", *(environment.web_suffix for environment in await tx.environments.list())}


def _check_not_default(environment: Environment, verb: str) -> None:
    if environment.is_default:
        msg = f"{environment.name!r} is the default environment: it cannot be {verb}."
        raise Conflict(msg)
