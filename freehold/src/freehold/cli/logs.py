"""`freehold logs`: what an app prints, as it prints it. `modal app logs`, following unless it is asked for what was."""

import typer

# With these, modal's command looks back and ends; it refuses them together with following.
_LOOKS_BACK = ("--since", "--until", "--tail", "-n")


def logs(context: typer.Context) -> None:
    """Replaces this process by modal's."""
    from freehold.cli.modal import become_modal

    become_modal(context, ["app", "logs", *following(context.args)])


def following(arguments: list[str]) -> list[str]:
    """With `--follow` where that is possible: `iris --search x` follows, `iris --tail 5` does not."""
    if not arguments or {"--help", "-h", "--follow", "-f"}.intersection(arguments) or any(map(_looks_back, arguments)):
        return arguments
    return [*arguments, "--follow"]


def _looks_back(argument: str) -> bool:
    return argument.partition("=")[0] in _LOOKS_BACK or (argument.startswith("-n") and argument[2:].isdigit())
