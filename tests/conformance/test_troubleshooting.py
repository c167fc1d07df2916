"""docs/howto/troubleshooting.md is true: each error that it quotes is what a new user gets, word for word."""

import re
import shlex
import socket
from pathlib import Path

import pytest

from conformance.conftest import CHECKOUT
from conformance.curl import curl
from conformance.deployment import deployed
from conformance.engine import APPS, Engine
from conformance.waiting import eventually

PAGE = CHECKOUT / "docs" / "howto" / "troubleshooting.md"
_WAITS = 120  # seconds of a command


def sections() -> dict[str, list[str]]:
    """Of each heading, its blocks: a command, and what it prints."""
    parts = re.split(r"^## (.+)$", PAGE.read_text(), flags=re.MULTILINE)[1:]
    found = {}
    for heading, body in zip(parts[::2], parts[1::2], strict=True):
        blocks = re.findall(r"(?:^    .*\n)+", body, re.MULTILINE)
        found[heading] = [re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in blocks]
    return {heading: blocks for heading, blocks in found.items() if blocks}


SECTIONS = sections()


def says(output: str, quoted: str) -> bool:
    """Whether the lines are in the output, in their order; `…` is anything. Frames and line breaks of the terminal do not count."""
    pieces = [_plain(piece) for line in quoted.splitlines() for piece in line.split("…")]
    pattern = ".*?".join(re.escape(piece) for piece in pieces if piece)
    return re.search(pattern, _plain(output)) is not None


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[╭╮╰╯│─]", " ", text).split())


def test_the_page_has_a_command_and_its_output_in_each_section() -> None:
    assert len(SECTIONS) >= 9
    assert all(len(blocks) % 2 == 0 for blocks in SECTIONS.values())


def test_other_words_would_be_noticed() -> None:
    assert says("╭─ Error ─╮\n│ no file  a.py │\n│ at all │", "no file …\nat all")
    assert not says("no file a.py", "no file\nat all")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a new user is: in the folder of the app."""
    for app in (APPS / "trouble").glob("*.py"):
        (tmp_path / app.name).write_text(app.read_text())
    (tmp_path / "app.py").write_text("import modal\napp = modal.App(\n")
    return tmp_path


COMMANDS = [heading for heading in SECTIONS if heading not in ("The engine's port is taken", "The port of a web server is taken")]


@pytest.mark.parametrize("heading", COMMANDS)
def test_a_command_prints_what_the_page_quotes(engine: Engine, folder: Path, heading: str) -> None:
    command, quoted = SECTIONS[heading]

    ran = engine.freehold(*shlex.split(command)[1:], within=_WAITS, cwd=folder)

    assert ran.code == 1
    assert says(ran.output, quoted), ran.output


def test_a_port_of_the_engine_that_is_taken(engine: Engine, tmp_path: Path) -> None:
    command, quoted = SECTIONS["The engine's port is taken"]
    with socket.create_server(("127.0.0.1", 0)) as other:
        environment = {"FREEHOLD_HOME": str(tmp_path), "FREEHOLD_CONTROL_PORT": str(other.getsockname()[1])}
        ran = engine.freehold(*shlex.split(command)[1:], env=environment)

    assert ran.code == 1
    assert says(ran.output, quoted), ran.output


async def test_a_port_of_a_web_server_that_is_taken(engine: Engine) -> None:
    _, answered, command, logged = SECTIONS["The port of a web server is taken"]
    with deployed(engine, "trouble/port.py", name="trouble-port") as app:
        answer = curl(await app.url("site")).text
        assert says(answer, answered), answer
        log = lambda: engine.freehold(*shlex.split(command)[1:]).succeeded().output  # noqa: E731
        eventually(lambda: says(log(), logged), within=60, what=logged)
