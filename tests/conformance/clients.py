"""Clients of other versions than the one that the tests run with: each in a process, and an environment, of its own."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdks.installed import python_of

from conformance.engine import APPS, Engine, Finished, _finish, _start
from conformance.waiting import Running

OLDER = APPS / "older"
_QUIET = {"PYTHONWARNINGS": "ignore", "MODAL_LOGLEVEL": "ERROR"}


@dataclass(frozen=True)
class Client:
    """One version, as a person has it who talks to this engine."""

    engine: Engine
    version: str
    python: Path

    @classmethod
    def of(cls, engine: Engine, version: str) -> "Client":
        return cls(engine, version, python_of(version))

    @property
    def environment(self) -> Mapping[str, str]:
        return {**self.engine.client_environment, **_QUIET}

    def modal(self, *args: str | Path, within: float = 600) -> Finished:
        """Its CLI, to its end."""
        return _finish([self.python, "-m", "modal", *args], env=self.environment, within=within, cwd=OLDER)

    def start_modal(self, *args: str | Path) -> Running:
        """Its CLI, with its output read while it runs."""
        return Running(_start([self.python, "-m", "modal", *args], env=self.environment, cwd=OLDER))

    def answers(self, script: str, *args: str, within: float = 300) -> Any:
        """What a script of `apps/older` prints in its last line, which is JSON."""
        finished = _finish([self.python, script, *args], env=self.environment, within=within, cwd=OLDER).succeeded()
        return json.loads(finished.output.strip().splitlines()[-1])
