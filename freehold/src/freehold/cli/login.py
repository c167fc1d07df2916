"""`freehold login`: a profile of this engine in the modal package's own configuration file."""

import os
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

Profile = Annotated[str, typer.Option(help="Name of the profile.")]
Activate = Annotated[bool, typer.Option(help="Make it the profile that plain `modal` uses.")]
Legacy = Annotated[
    bool | None,
    typer.Option(help="Give the environment of that `modal` the names of older SDKs, or take them away.", show_default=False),
]
_UNNAMED = "default"  # the profile that modal uses when none is active


def login(*, profile: Profile = "freehold", activate: Activate = True, legacy: Legacy = None) -> None:
    """Write a profile, so that plain `modal` comes here.

    It goes to ~/.modal.toml, or the file that MODAL_CONFIG_PATH names. Other profiles stay as they are. With --legacy, apps that were
    written for older SDKs can be deployed with it, too: a .pth file in its environment sees to that, until --no-legacy removes it.
    """
    from freehold.cli.access import access
    from freehold.config import Settings

    settings = Settings.load()
    path = _config_path()
    profiles = with_profile(_read(path), profile, access(settings), activate=activate)
    _write(path, profiles)
    typer.echo(f"Wrote profile {profile!r} to {path}.")
    typer.echo("`modal` now comes to this engine." if activate else f"Use it with MODAL_PROFILE={profile}, or `modal profile activate`.")
    if legacy is not None:
        _give_old_names(wanted=legacy)


def _give_old_names(*, wanted: bool) -> None:
    from freehold.domain.errors import InvalidRequest
    from modal_compat.environment import EnvironmentFailed, of_command

    try:
        environment = of_command()
        if wanted:
            environment.install()
            typer.echo(f"Wrote {environment.hook}: modal {environment.modal} there knows the names of older SDKs now, in every program.")
            typer.echo("`freehold login --no-legacy` removes it.")
        elif environment.uninstall():
            typer.echo(f"Removed {environment.hook}: modal {environment.modal} there knows its own names only.")
        else:
            typer.echo(f"{environment.hook} is not there, so there is nothing to remove.")
    except EnvironmentFailed as error:
        raise InvalidRequest(str(error)) from error


def with_profile(profiles: dict[str, Any], name: str, values: dict[str, str], *, activate: bool) -> dict[str, Any]:
    """The profiles with this one added or replaced."""
    was_active = [other for other, fields in profiles.items() if fields.get("active")]
    result = {other: dict(fields) for other, fields in profiles.items()} | {name: dict(values)}
    # Among several profiles modal insists on an active one, so one that was used unnamed is now named.
    active = [name] if activate else was_active or [other for other in profiles if other == _UNNAMED]
    for other, fields in result.items():
        fields.pop("active", None)
        if other in active:
            fields["active"] = True
    return result


def _config_path() -> Path:
    return Path(os.environ.get("MODAL_CONFIG_PATH") or "~/.modal.toml").expanduser().resolve()


def _read(path: Path) -> dict[str, Any]:
    import toml

    from freehold.domain.errors import InvalidRequest

    if not path.exists():
        return {}
    try:
        return toml.loads(path.read_text())
    except toml.TomlDecodeError as error:
        msg = f"{path} is not valid TOML, so it was left alone: {error}. Mend it, then try again."
        raise InvalidRequest(msg) from error


def _write(path: Path, profiles: dict[str, Any]) -> None:
    """Whole or not at all, and readable by its owner only: it holds a token."""
    import toml

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=path.name, delete=False) as file:
        toml.dump(profiles, file)
    Path(file.name).replace(path)
