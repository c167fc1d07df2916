"""The `modalkit` command: which commands there are, and how a mistake reaches the person.

A command imports what it needs when it runs, so that `--help` and completion answer at once.
"""

import sys
from collections.abc import Sequence

import click

from modalkit.errors import ConfigError, ModalKitError

OTHER_WORDS = {"init": "new", "create": "new", "validate": "check", "serve": "dev", "run": "dev", "predict": "invoke", "call": "invoke"}
SHELLS = ("bash", "zsh", "fish")


def main(arguments: Sequence[str] | None = None) -> None:
    try:
        cli.main(None if arguments is None else list(arguments), prog_name="modalkit")
    except ConfigError as error:  # its lines begin with their places
        click.echo(error, err=True)
        sys.exit(1)
    except ModalKitError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)


def _print_version(context: click.Context, _: click.Parameter, value: object) -> None:
    if not value or context.resilient_parsing:
        return
    import platform
    from importlib.metadata import version

    import modalkit

    click.echo(f"modalkit {modalkit.__version__} (modal {version('modal')}, Python {platform.python_version()})")
    context.exit()


class _InOrder(click.Group):
    """Lists its commands in the order of a service's life, and knows what others call them."""

    def list_commands(self, _: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(self, context: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self.commands and not name.startswith("-"):
            from difflib import get_close_matches

            near = OTHER_WORDS.get(name) or next(iter(get_close_matches(name, self.commands, n=1)), "")
            context.fail(f"No such command {name!r}{f'; did you mean {near!r}?' if near else '.'}")
        return super().resolve_command(context, args)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the versions installed here."
)
def cli() -> None:
    """Make, check, try and measure a model service. `modal deploy app.py` deploys it."""


@cli.command(short_help="Make a folder with a service that runs at once.")
@click.argument("name")
def new(name: str) -> None:
    """Make a folder NAME with a service that runs at once, and its test."""
    from modalkit._cli.new import make

    folder = make(name)
    click.echo(f"Made {folder}: app.py, pipeline.py, modalkit.yaml, test_app.py, README.md\n\n    cd {folder}\n    modalkit dev app.py")


@cli.command(short_help="Find every fault of a configuration or an app.")
@click.argument("target", default="", metavar="[APP.PY|MODALKIT.YAML]")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of modalkit.yaml, for editors, and check nothing.")
def check(target: str, *, schema: bool) -> None:
    """Find every fault of a configuration, each with file, line and the nearest valid key.

    Of an app it also checks what the decorators are given, the models' entries against the pipeline's constructor, and the input and
    output models. Without an argument: app.py of this folder, else modalkit.yaml. Exit status 1 if there is a fault.
    """
    from modalkit._cli.check import check, schema_text

    if schema:
        click.echo(schema_text())
        return
    report = check(target)
    for line in report.found:
        click.echo(line)
    for fault in report.faults:
        click.echo(fault, err=True)
    if report.faults:
        click.echo(f"{len(report.faults)} fault{'s' if len(report.faults) > 1 else ''}.", err=True)
        sys.exit(1)
    click.echo("No faults.")


@cli.command(short_help="Serve an app in a process of this machine.")
@click.argument("app", default="app.py", metavar="[APP.PY]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on; 0: any free one.")
@click.option("--function", default="", help="The web function to serve; the first one of the file without it.")
@click.option(
    "--reload/--no-reload",
    default=True,
    show_default=True,
    help="Start again when a Python, YAML or .env file of the app's folder changes.",
)
def dev(app: str, *, host: str, port: int, function: str, reload: bool) -> None:
    """Serve an app in this process: no engine, no container; models are loaded and batches gathered as in containers.

    Without an argument: app.py of this folder.
    """
    from modalkit._cli.dev import dev

    dev(app, host=host, port=port, function=function, reload=reload)


@cli.command(short_help="Ask for one prediction and print it.")
@click.argument("target", metavar="URL|APP.PY")
@click.argument("data", metavar="JSON|@FILE|-")
@click.option("--model", default="", help="Name of the model; the app's default without it.")
@click.option(
    "--header", "-H", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header of the request, such as a key; may be repeated."
)
@click.option("--function", default="", help="The web function of APP.PY; the first one of the file without it.")
@click.option(
    "--timeout", default=300.0, show_default=True, type=click.FloatRange(min=0, min_open=True), help="Seconds to wait for the answer."
)
def invoke(target: str, data: str, *, model: str, headers: tuple[str, ...], function: str, timeout: float) -> None:
    """Ask for one prediction and print it.

    TARGET is the address of a service, or an app to load in this process. The input is JSON, a file of it, or standard input. Exit status: 0
    with an answer, 4 if the request was refused (4xx), 5 if the service failed (5xx), 1 if it was not reached.
    """
    from modalkit._cli.invoke import Question, ask

    question = Question.of(data, model=model, headers=headers, timeout=timeout)
    sys.exit(ask(target, question, function=function))


@cli.command(short_help="Measure a running service.")
@click.argument("url")
@click.option("--data", "-d", required=True, metavar="JSON|@FILE|-", help="The input that every request sends.")
@click.option("--model", default="", help="Name of the model; the app's default without it.")
@click.option(
    "--header", "-H", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header of every request, such as a key; may be repeated."
)
@click.option("--connections", "-c", default=32, show_default=True, type=click.IntRange(1, 1000), help="Requests in flight at a time.")
@click.option("--duration", "-t", default=10.0, show_default=True, type=click.FloatRange(0.1, 600), help="Seconds to measure.")
@click.option(
    "--requests", "-n", default=0, type=click.IntRange(0, 10_000_000), help="Requests to make; ends before the duration if they are made."
)
@click.option(
    "--timeout", default=60.0, show_default=True, type=click.FloatRange(min=0, min_open=True), help="Seconds to wait for one answer."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def bench(
    url: str,
    *,
    data: str,
    model: str,
    headers: tuple[str, ...],
    connections: int,
    duration: float,
    requests: int,
    timeout: float,
    as_json: bool,
) -> None:
    """Measure a running service: requests a second, latency, errors, and the batches that the model was given.

    Each connection sends its next request when it has the answer to its last. Exit status 1 unless every answer was a success. On one machine
    with the service this command takes a share of its processors.
    """
    from modalkit._cli.bench import Load, measure
    from modalkit._cli.invoke import Question

    question = Question.of(data, model=model, headers=headers, timeout=timeout)
    figures = measure(url, question, Load(connections, duration, requests))
    click.echo(figures.as_json() if as_json else figures.as_text())
    sys.exit(0 if figures.is_clean else 1)


@cli.command(short_help="Print what makes a shell complete this command.")
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what makes a shell complete this command: eval "$(modalkit completion bash)"."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    try:
        click.echo(found(cli, {}, "modalkit", "_MODALKIT_COMPLETE").source())
    except RuntimeError as error:  # a bash that is too old
        raise click.ClickException(str(error)) from None
