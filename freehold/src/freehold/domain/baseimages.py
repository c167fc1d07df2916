"""References to base images, and which Debian suite and Python can stand in for the official images where no registry answers."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from freehold.domain.errors import InvalidRequest

OWN_PYTHON: Mapping[str, str] = {"bullseye": "3.9", "bookworm": "3.11", "trixie": "3.13"}
_SUITE_ALIASES: Mapping[str, str] = {
    "11": "bullseye",
    "12": "bookworm",
    "13": "trixie",
    "oldoldstable": "bullseye",
    "oldstable": "bookworm",
    "stable": "trixie",
}
_DEFAULT_SUITE = "trixie"  # what `python:3.X-slim` and `debian:latest` stand for on the public registry
_REFERENCE = re.compile(r"^[a-z0-9][\w./:-]*(@sha256:[0-9a-f]{64})?$")
_PYTHON_VERSION = re.compile(r"^3(\.\d+)?(\.\d+)?$")
_STANDALONE = re.compile(r"^python-build-standalone\.(?P<release>\d+)\.(?P<series>3\.\d+)\.\w+-gnu$")
_FIRST_WITH_PYTHON_LINK = "20241008"  # for earlier releases the client makes the link in a step of its own, which fails if there is one


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """`repository` is without the public registry's names: "python", "mambaorg/micromamba", "ghcr.io/owner/name"."""

    repository: str
    tag: str
    digest: str = ""

    def __str__(self) -> str:
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DebianBase:
    """A base made from Debian packages. `python` is a series, empty for none; `own_python` takes the suite's own packages for it."""

    suite: str
    python: str = ""
    own_python: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StandalonePython:
    """A Python as `add_python=` wants it. `has_python_link`: whether `bin/python` is expected beside `bin/python3`."""

    series: str
    has_python_link: bool


def parse_reference(text: str) -> Reference:
    if not _REFERENCE.match(text):
        msg = f"Not a reference to a base image: {text[:200]!r}. Write name:tag, such as python:3.11-slim-bookworm."
        raise InvalidRequest(msg)
    name, _, digest = text.partition("@")
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        repository, tag = name, "latest"
    for public in ("docker.io/", "index.docker.io/", "library/"):
        repository = repository.removeprefix(public)
    return Reference(repository=repository, tag=tag, digest=digest)


def debian_base(reference: Reference, machine_pythons: Collection[str]) -> DebianBase:
    """The base that stands in for an official `debian` or `python` image. `machine_pythons` are the series that can be copied."""
    if reference.digest:
        raise _refusal(reference, "a digest names one exact image")
    if reference.repository == "debian":
        return DebianBase(suite=_debian_suite(reference))
    if reference.repository == "python":
        return _python_base(reference, machine_pythons)
    raise _refusal(reference, "only the official debian and python images have a stand-in")


def standalone_python(mount_name: str) -> StandalonePython | None:
    """The Python of the published mount that `add_python=` copies from; None for other mounts."""
    found = _STANDALONE.match(mount_name)
    if found is None:
        return None
    return StandalonePython(series=found["series"], has_python_link=found["release"] >= _FIRST_WITH_PYTHON_LINK)


def no_python(series: str, machine_pythons: Collection[str]) -> InvalidRequest:
    """The refusal for a Python that cannot be had, with what can."""
    here = ", ".join(sorted(machine_pythons, key=_series_order)) or "none"
    own = ", ".join(f"{python} ({suite})" for suite, python in OWN_PYTHON.items())
    msg = (
        f"No Python {series} for a base image. Self-contained Pythons on this machine: {here}; Debian's own: {own}. "
        f"Add one with `uv python install {series}` or `pyenv install {series}` on the machine and build again, "
        "or let the machine reach a container registry (with skopeo installed)."
    )
    return InvalidRequest(msg)


def _debian_suite(reference: Reference) -> str:
    name = reference.tag.removesuffix("-slim").split(".")[0]
    if name == "latest":
        return _DEFAULT_SUITE
    suite = _SUITE_ALIASES.get(name, name)
    if suite not in OWN_PYTHON:
        raise _refusal(reference, f"of Debian there are {', '.join(OWN_PYTHON)}")
    return suite


def _python_base(reference: Reference, machine_pythons: Collection[str]) -> DebianBase:
    version, suite = _python_tag(reference)
    if version in ("", "3"):
        version = max([*machine_pythons, OWN_PYTHON[suite or _DEFAULT_SUITE]], key=_series_order)
    series = ".".join(version.split(".")[:2])
    if series in machine_pythons:
        return DebianBase(suite=suite or _DEFAULT_SUITE, python=series)
    for candidate, own in OWN_PYTHON.items():
        if own == series and suite in ("", candidate):
            return DebianBase(suite=candidate, python=series, own_python=True)
    raise no_python(series, machine_pythons)


def _python_tag(reference: Reference) -> tuple[str, str]:
    """Version and suite as the tag says them; empty where it does not."""
    version, suite = "", ""
    for part in reference.tag.split("-"):
        if part in OWN_PYTHON:
            suite = part
        elif _PYTHON_VERSION.match(part):
            version = part
        elif part not in ("slim", "latest"):
            raise _refusal(reference, f"{part!r} is no variant of it that can be made from Debian packages")
    return version, suite


def _series_order(series: str) -> tuple[int, ...]:
    return tuple(int(part) for part in series.split("."))


def _refusal(reference: Reference, why: str) -> InvalidRequest:
    msg = (
        f"The base image {str(reference)!r} has to come from a container registry ({why}), and none can be used. "
        "Install skopeo on the machine and let it reach the registry, or start from modal.Image.debian_slim()."
    )
    return InvalidRequest(msg)
