"""The `freehold` command: which commands there are, and how a refusal reaches the person."""

import sys
from collections.abc import Sequence

import typer

from freehold.cli.coldstart import coldstart
from freehold.cli.config import config
from freehold.cli.cost import cost
from freehold.cli.dashboard import dashboard
from freehold.cli.doctor import doctor
from freehold.cli.down import down
from freehold.cli.login import login
from freehold.cli.logs import logs
from freehold.cli.migrate import migrate
from freehold.cli.modal import COMMANDS, modal
from freehold.cli.schedules import schedules
from freehold.cli.stats import stats
from freehold.cli.status import status
from freehold.cli.tokens import tokens
from freehold.cli.top import top
from freehold.cli.trace import trace
from freehold.cli.trust import trust
from freehold.cli.up import up
from freehold.cli.version import version
from freehold.cli.why import why
from freehold.domain.errors import FreeholdError

app = typer.Typer(
    help="Run the engine that the modal package deploys to. From `run` on, the commands are modal's own, sent to this engine.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # importing rich takes twice as long as all the rest of --help
    pretty_exceptions_enable=False,
)
for own in (up, down, status, top, stats, dashboard, doctor, why, coldstart, trace, cost, login, migrate, trust, config, version):
    app.command()(own)
app.add_typer(schedules, name="schedules")
app.add_typer(tokens, name="tokens")
for name, line in COMMANDS.items():
    app.command(
        name,
        short_help=line,
        add_help_option=False,  # `freehold deploy --help` is modal's
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False},
    )(logs if name == "logs" else modal)


def main(arguments: Sequence[str] | None = None) -> None:
    try:
        app(arguments, prog_name="freehold")
    except (FreeholdError, PermissionError) as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(1)
