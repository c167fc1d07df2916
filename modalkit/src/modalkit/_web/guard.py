"""Who is let in: API keys and rate limits, in front of all routes.

A plain ASGI layer that is there only where `auth_config` asks for something. Whoever it lets in is the `current_caller` of the request, so
that the choice of a model can be refused where it is made.
"""

import logging
import os
from pathlib import Path
from typing import Any

import modal
from dotenv import dotenv_values
from fastapi import FastAPI
from starlette.datastructures import QueryParams
from starlette.types import ASGIApp, Receive, Scope, Send

from modalkit import _telemetry
from modalkit._catalogue import Catalogue
from modalkit._rates import Rates, network_of
from modalkit._ssm import SsmKeys
from modalkit._web.problems import path_of, respond
from modalkit.auth import CALLER, Caller, Key, find_key, parse_keys
from modalkit.errors import ConfigError, InferenceError, Problem
from modalkit.settings import AuthConfig, Settings

log = logging.getLogger("modalkit")

ALWAYS_OPEN = frozenset({"/health", "/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"})


class Doorkeeper:
    """Knows the keys and counts the requests. Raises ConfigError: API keys are asked for, and there are none."""

    def __init__(self, config: AuthConfig, realm: str) -> None:
        self._header = config.header.lower().encode("ascii")
        self._asks_keys = config.kind == "api_key"
        self._ssm = SsmKeys(config.ssm) if config.ssm else None
        self._fixed = _fixed_keys(config) if self._asks_keys else ()
        self._callers = {name: Caller(name, None if key.models is None else frozenset(key.models)) for name, key in config.keys.items()}
        self._rates = Rates(config.rate_limit, {name: key.rate_limit for name, key in config.keys.items() if key.rate_limit})
        self._challenge = f'Bearer realm="{realm.replace(chr(34), "")}"'

    def start(self) -> None:
        if self._ssm is not None:
            self._ssm.start()

    def stop(self) -> None:
        if self._ssm is not None:
            self._ssm.stop()

    async def admit(self, scope: Scope) -> Caller:
        """Who asks. Raises Refused."""
        caller = await self._by_key(scope) if self._asks_keys else _by_address(scope)
        if wait := self._rates.take(caller.name):
            raise Refused(Problem(429, f"Too many requests; the next one is answered in {wait:.3g} s.", "rate_limited", retry_after=wait))
        return caller

    async def _by_key(self, scope: Scope) -> Caller:
        presented = _presented(scope, self._header)
        if presented is None:
            raise self._missing()
        if (key := find_key(await self._keys(), presented)) is None:
            raise self._unknown()
        _telemetry.annotate("modalkit.api_key", key.name)
        return self._callers.get(key.name) or Caller(key.name)

    async def _keys(self) -> tuple[Key, ...]:
        if self._ssm is None:
            return self._fixed
        if (keys := self._ssm.keys) is None and (keys := await self._ssm.first()) is None:
            raise Refused(Problem(503, "API keys cannot be looked up now.", "keys_unavailable", retry_after=10))
        return self._fixed + keys

    def _missing(self) -> "Refused":
        detail = f"An API key is asked for: send {self._header.decode()}: <key>, or Authorization: Bearer <key>."
        return Refused(Problem(401, detail, "unauthenticated"), {"WWW-Authenticate": self._challenge})

    def _unknown(self) -> "Refused":
        challenge = f'{self._challenge}, error="invalid_token"'
        return Refused(Problem(401, "This API key is not known.", "unauthenticated"), {"WWW-Authenticate": challenge})


class Refused(InferenceError):
    """A request that is not let in."""

    def __init__(self, problem: Problem, headers: dict[str, str] | None = None) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.headers = {"Cache-Control": "no-store", **(headers or {})}


class Guard:
    """The layer."""

    def __init__(self, app: ASGIApp, doorkeeper: Doorkeeper, open_paths: frozenset[str]) -> None:
        self._app = app
        self._doorkeeper = doorkeeper
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._is_open(scope):
            await self._app(scope, receive, send)
            return
        try:
            caller = await self._doorkeeper.admit(scope)
        except Refused as refused:
            await _refuse(refused, scope, receive, send)
            return
        token = CALLER.set(caller)
        try:
            await self._app(scope, receive, send)
        finally:
            CALLER.reset(token)

    def _is_open(self, scope: Scope) -> bool:
        """To ask for the health of a named model is to load it, so that needs a key: strangers could have all models come and go."""
        path = path_of(scope)
        return path in self._open_paths and not (path in ALWAYS_OPEN and _names_a_model(scope))


def doorkeeper(settings: Settings, catalogue: Catalogue, realm: str) -> Doorkeeper | None:
    """None: everyone may ask as often as they like. Raises ConfigError: what is asked for cannot be done."""
    config = settings.app_settings.auth_config
    _check_models(config, catalogue)
    return Doorkeeper(config, realm) if config.kind == "api_key" or config.rate_limit else None


def install(app: FastAPI, keeper: Doorkeeper, config: AuthConfig) -> None:
    """Puts the guard before what the app has so far, and into its OpenAPI document."""
    open_paths = ALWAYS_OPEN | frozenset(config.open_paths)
    app.add_middleware(Guard, doorkeeper=keeper, open_paths=open_paths)
    if config.kind == "api_key":
        _describe(app, config.header, open_paths)


def _names_a_model(scope: Scope) -> bool:
    return "model_name" in QueryParams(scope.get("query_string", b""))


async def _refuse(refused: Refused, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": refused.problem.detail})
        return
    await respond(refused.problem, refused.headers, scope)(scope, receive, send)


def _presented(scope: Scope, header: bytes) -> str | None:
    """The key that a request shows; its own header counts before `Authorization`."""
    bearer = None
    for name, value in scope["headers"]:
        if name == header:
            return str(value.decode("latin-1"))
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            bearer = value[7:].strip().decode("latin-1")
    return bearer


def _by_address(scope: Scope) -> Caller:
    client = scope.get("client")
    return Caller(network_of(client[0]) if client else "")


def _fixed_keys(config: AuthConfig) -> tuple[Key, ...]:
    text = os.environ.get(config.keys_variable) or _from_env_file(config.keys_variable)
    keys = parse_keys(text, config.keys_variable)
    if not keys and config.ssm is None:
        msg = (
            f"auth_config.kind is api_key, and {config.keys_variable} is not set: put lines of modalkit.auth.new_key(name).line into it by a Secret"
            " that deployment_config.secrets names"
        )
        raise ConfigError(msg)
    if config.ssm is None and (strays := sorted(config.keys.keys() - {key.name for key in keys})):
        log.warning("auth_config.keys speaks of %s, and %s has no key of that name", ", ".join(strays), config.keys_variable)
    return keys


def _from_env_file(variable: str) -> str:
    """Containers have the environment that their secrets give; `.env` is a file of the machine that a person works on."""
    path = Path(str(Settings.model_config.get("env_file") or ".env"))
    return (dotenv_values(path).get(variable) or "") if modal.is_local() and path.exists() else ""


def _check_models(config: AuthConfig, catalogue: Catalogue) -> None:
    for name, key in config.keys.items():
        if strays := [model for model in key.models or () if model not in catalogue.names]:
            msg = f"auth_config.keys.{name}.models: there is no model {', '.join(strays)}; there are: {', '.join(catalogue.names)}"
            raise ConfigError(msg)


def _describe(app: FastAPI, header: str, open_paths: frozenset[str]) -> None:
    make = app.openapi

    def openapi() -> dict[str, Any]:
        document = make()
        schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["api_key"] = {"type": "apiKey", "in": "header", "name": header}
        schemes["bearer"] = {"type": "http", "scheme": "bearer"}
        document["security"] = [{"api_key": []}, {"bearer": []}]
        for path in open_paths & document["paths"].keys():
            for operation in document["paths"][path].values():
                operation["security"] = []
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend the document
