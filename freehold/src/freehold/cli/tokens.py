"""`freehold tokens`: who may use this engine, beside its owner."""

import json
import re
from datetime import datetime
from typing import Annotated, Any

import typer

from freehold.cli.status import AsJson

Name = Annotated[str, typer.Option(help="What the list shows it as.")]
ExpiresIn = Annotated[str, typer.Option(metavar="TIME", help="Its life, as in 12h, 7d or 90d; for ever if not given.")]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

tokens = typer.Typer(rich_markup_mode=None, add_completion=False)


@tokens.callback(invoke_without_command=True)
def show(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Show who may use this engine, and let others in or keep them out.

    Whoever has a token may do everything here. Of the secrets only hashes are kept.
    """
    if context.invoked_subcommand is not None:
        return
    from freehold.cli.operator import ask

    answer = ask("TokenList")
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    _print_table(answer["tokens"])
    for flow in answer["waiting"]:
        typer.echo(
            f"\nA client that shows the code {flow['code']} waits for a token: `freehold tokens confirm {flow['code']}` gives it one."
        )


@tokens.command()
def make(*, name: Name = "", expires_in: ExpiresIn = "") -> None:
    """Make a token, for another machine or person, and print the command that takes it there.

    Its secret is shown this once.
    """
    from freehold.cli.operator import ask
    from freehold.config import Settings

    made = ask("TokenMake", name=name, lifetime=_seconds(expires_in))
    typer.echo(f"MODAL_SERVER_URL={Settings.load().control_url} modal token set --token-id {made['id']} --token-secret {made['secret']}")


@tokens.command()
def confirm(code: Annotated[str, typer.Argument(metavar="CODE", help="What `modal token new` shows.")], *, name: Name = "") -> None:
    """Give a token to the client that shows this code: `modal token new`, or `modal setup`."""
    from freehold.cli.operator import ask

    answer = ask("TokenConfirm", code=code, name=name)
    typer.echo(f"The client that shows {answer['code']} has its token now.")


@tokens.command()
def code() -> None:
    """Print a one-time code, with which whoever has it confirms one request for a token in a browser.

    It counts for ten minutes.
    """
    from freehold.cli.operator import ask

    typer.echo(ask("TokenCode")["code"])


@tokens.command()
def revoke(token_id: Annotated[str, typer.Argument(metavar="ID", help="As `freehold tokens` lists it.")]) -> None:
    """Take a token away: who shows it is refused from the next request on.

    The home's own gets a new secret instead, which `freehold` uses from then on; `freehold login` writes it where `modal` reads it.
    """
    from freehold.cli.operator import ask

    answer = ask("TokenRevoke", id=token_id)
    if answer["is_home"]:
        typer.echo(f"{token_id} has a new secret; the old one is refused. `freehold login` writes it to your profile.")
    else:
        typer.echo(f"{token_id} is revoked.")


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("token", "name", "made", "last used", "ends"):
        table.add_column(heading, no_wrap=heading == "token", overflow="fold")
    for row in rows:
        used = _local(row["last_used_at"]) or "not yet"
        ends = "disabled" if row["is_disabled"] else _local(row["expires_at"]) or "never"
        table.add_row(row["id"], row["name"] or "-", _local(row["created_at"]), used, ends)
    Console().print(table)


def _local(moment: str | None) -> str:
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M") if moment else ""


def _seconds(text: str) -> int:
    """0 for nothing given."""
    from freehold.domain.errors import InvalidRequest

    if not text:
        return 0
    if not (found := re.fullmatch(r"([0-9]{1,9})([smhd])", text)):
        msg = f"{text!r} is no time that a token may live. Write it as in 30m, 12h, 7d or 90d."
        raise InvalidRequest(msg)
    return int(found[1]) * _UNITS[found[2]]
