"""What doctor prints of findings, and when it says that the machine will not do."""

import json

import pytest

from freehold.cli.main import main
from freehold.worker import inspect
from freehold.worker.inspect import Finding

FINE = Finding(subject="runtime", is_ok=True, detail="/usr/bin/runc", is_required=True)
LACKING = Finding(subject="gpus", is_ok=False, detail="none", fix="Install a driver.")
MISSING = Finding(subject="root", is_ok=False, detail="running as uid 1000", fix="Use `sudo -E`.", is_required=True)


@pytest.fixture
def doctor(home, monkeypatch, capsys):
    def run(findings, *arguments):
        async def inspect_machine(home, pretended_gpus):
            return findings

        monkeypatch.setattr(inspect, "inspect_machine", inspect_machine)
        with pytest.raises(SystemExit) as end:
            main(["doctor", *arguments])
        return end.value.code, capsys.readouterr().out

    return run


def test_a_machine_that_lacks_only_what_is_optional_will_do(doctor):
    status, printed = doctor([FINE, LACKING])

    assert status == 0
    assert "Install a driver." in printed


def test_a_machine_that_lacks_what_is_needed_will_not_do(doctor):
    status, printed = doctor([FINE, MISSING])

    assert status == 1
    assert "Use `sudo -E`." in printed


def test_json_has_everything(doctor):
    status, printed = doctor([MISSING], "--json")

    assert status == 1
    assert json.loads(printed)[0]["fix"] == "Use `sudo -E`."
