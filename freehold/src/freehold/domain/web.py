"""Web addresses: the host label of a function, and the URLs under which the gateway serves it."""

import hashlib
import re
from dataclasses import dataclass
from typing import NewType

WebLabel = NewType("WebLabel", str)

SEPARATOR = "--"  # between the workspace (and environment) and the rest; every label has it
DEFAULT_DEV_SUFFIX = "dev"  # of ephemeral apps, so that `modal serve` does not take the address of the deployed app

_HTTP_PORT, _HTTPS_PORT = 80, 443
_MAX_LENGTH = 63  # of one DNS label (RFC 1035)
_HASH_LENGTH = 6
_NOT_ALLOWED = re.compile(r"[^a-z0-9-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """`is_truncated` is what the client prints a note about; a truncated label ends with a hash that keeps it unique."""

    text: WebLabel
    is_truncated: bool = False


def web_label(*, workspace: str, environment_suffix: str = "", app: str, function: str, label: str = "", dev_suffix: str = "") -> Label:
    """The host label of a function: `<workspace>[-<environment>]--<app>-<function>[-<dev>]`.

    `function` is the tag (`predict`, or `Model.predict` of a class), `label` what the user chose in place of app and function.
    """
    owner = f"{workspace}-{environment_suffix}" if environment_suffix else workspace
    name = label or f"{app}-{function}"
    if dev_suffix:
        name = f"{name}-{dev_suffix}"
    return _fitted(f"{_cleaned(owner)}{SEPARATOR}{_cleaned(name)}")


@dataclass(frozen=True, slots=True)
class Origin:
    """How callers reach the gateway: its own port, or that of a proxy in front of it."""

    port: int
    is_secure: bool = False

    @property
    def scheme(self) -> str:
        return "https" if self.is_secure else "http"

    def url(self, host: str) -> str:
        is_usual = self.port == (_HTTPS_PORT if self.is_secure else _HTTP_PORT)
        return f"{self.scheme}://{host}" if is_usual else f"{self.scheme}://{host}:{self.port}"


def web_url(label: str, domain: str, origin: Origin) -> str:
    return origin.url(f"{label}.{domain}")


def path_url(label: str, host: str, port: int) -> str:
    """The same function for callers whose resolver does not know `*.localhost`.

    On the gateway's bare host a first path segment with `--` is a label; the engine's own paths (`/healthz`, `/_freehold/…`) have none.
    """
    return f"http://{host}:{port}/{label}/"


def label_of_host(host: str, domain: str) -> str | None:
    """The label in a Host header; None for the gateway's bare host."""
    name = host.rpartition(":")[0] if _has_port(host) else host
    label, dot, rest = name.lower().rstrip(".").partition(".")
    return label if dot and rest == domain else None


def label_of_path(path: str) -> str | None:
    """The label in the path form; None for the engine's own paths."""
    segment = path[1:].partition("/")[0]
    return segment.lower() if SEPARATOR in segment and segment.isascii() else None


def _has_port(host: str) -> bool:
    return ":" in host and not host.endswith("]")  # `[::1]` is an address of its own


def _cleaned(text: str) -> str:
    return _NOT_ALLOWED.sub("-", text.lower()).strip("-")  # DNS labels neither begin nor end with a dash


def _fitted(text: str) -> Label:
    if len(text) <= _MAX_LENGTH:
        return Label(text=WebLabel(text))
    digest = hashlib.sha256(text.encode()).hexdigest()[:_HASH_LENGTH]
    head = text[: _MAX_LENGTH - _HASH_LENGTH - 1].rstrip("-")
    return Label(text=WebLabel(f"{head}-{digest}"), is_truncated=True)
