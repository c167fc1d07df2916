"""Faults at random over steady work, by a seed: what no person thought of. `make faults SEED=… MINUTES=…` repeats one."""

import os
import random
import secrets
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from itertools import count
from pathlib import Path

import modal
import pytest
from conformance.deployment import versioned

from faults import invariants
from faults.conftest import APPS
from faults.database import locked
from faults.test_clients import accepted_by, answers_of
from faults.victims import containers
from faults.workload import Workload

MINUTES = float(os.environ.get("MINUTES", "1"))
SEED = int(os.environ.get("SEED") or secrets.randbelow(10**6))
FAULTS_BETWEEN_CHECKS = 4

# What a client may see while there is no engine, or its container has gone.
REFUSALS = (modal.exception.Error, ConnectionError, TimeoutError, OSError, HTTPException)


@dataclass
class Storm:
    """The work, the chance, and a journal of all that was done: printed when something is wrong."""

    work: Workload
    chance: random.Random
    folder: Path
    journal: list[str] = field(default_factory=list)
    was_deaf: bool = False  # nobody held the ports for a while, neither an engine nor its supervisor
    _tokens: Iterator[int] = field(default_factory=count)
    _version: Iterator[int] = field(default_factory=lambda: count(2))
    _started: float = field(default_factory=time.monotonic)

    def note(self, what: str) -> None:
        line = f"{time.monotonic() - self._started:7.1f} s  {what}"
        self.journal.append(line)
        print(line, flush=True)

    def token(self, kind: str) -> str:
        return f"s{SEED}-{kind}-{next(self._tokens)}"

    def pause(self, longest: float) -> None:
        time.sleep(self.chance.uniform(0, longest))

    # Steady work. Whatever a client is refused was not accepted; whatever it was told counts.

    def spawn_some(self) -> None:
        for _ in range(self.chance.randint(1, 20)):
            token, name, seconds = self.token("spawn"), self.chance.choice(["steady", "steady_alone"]), self.chance.uniform(0, 1)
            with suppress(*REFUSALS):
                self.work.spawn(name, token, seconds)

    @contextmanager
    def mapping(self) -> Iterator[None]:
        """A client that maps while the block runs. It gives up at most when nobody was listening for a while; what it was given is right,
        in order, and complete if it says so.
        """
        prefix, size, seconds = self.token("map"), self.chance.randint(5, 80), self.chance.uniform(0, 0.5)
        with self.work.engine.start_python(APPS / "map_all.py", prefix, str(size), str(seconds)) as script:
            self.was_deaf = False
            yield
            code = script.wait(within=180)
        wanted = [f"{prefix}-{number}" for number in range(size)]
        answers = answers_of(script)
        assert answers == wanted[: len(answers)]
        assert answers == wanted if code == 0 else self.was_deaf, script.output
        self.note(f"map of {size}: {'complete' if code == 0 else f'gave up after {len(answers)}: {script.lines[-1].text}'}")

    def call(self, token: str) -> None:
        with suppress(*REFUSALS):
            assert self.work.function("steady").remote(token) == token

    def ask_the_site(self, token: str) -> None:
        with suppress(*REFUSALS):
            url = self.work.function("site").get_web_url() or ""
            request = urllib.request.Request(f"{self.work.engine.gateway_url}/?{token}", headers={"host": url.removeprefix("http://")})
            with urllib.request.urlopen(request, timeout=60) as answer:
                assert answer.read().decode() == token

    # Faults.

    def kill_a_container(self) -> None:
        if running := containers(self.work.engine.home):
            with suppress(ProcessLookupError):
                self.chance.choice(running).kill()

    def kill_all_containers(self) -> None:
        for container in containers(self.work.engine.home):
            with suppress(ProcessLookupError):
                container.kill()

    def freeze_a_container(self) -> None:
        running = containers(self.work.engine.home)
        if not running:
            return
        container = self.chance.choice(running)
        with suppress(ProcessLookupError):
            container.freeze()
            self.pause(2)
            container.thaw()

    def kill_the_engine(self) -> None:
        self.work.engine.kill_engine()
        self.come_back()

    def come_back(self) -> None:
        """By its supervisor, which gives up after a few deaths in a row; then by hand."""
        try:
            self.work.engine.await_answer()
        except AssertionError:
            assert "is not started again" in self.work.engine.log_tail()
            self.was_deaf = True
            self.work.engine.start()

    def cut_the_power(self) -> None:
        self.was_deaf = True
        self.work.engine.kill()
        self.pause(1)
        self.work.engine.start()

    def cut_the_power_at_the_start(self) -> None:
        self.was_deaf = True
        self.work.engine.kill()
        self.work.engine.launch()
        self.pause(1)
        self.work.engine.kill()
        self.work.engine.start()

    def hold_the_database(self) -> None:
        with locked(self.work.engine.home):
            self.pause(4)

    def redeploy(self) -> None:
        self.work.engine.modal("deploy", versioned(APPS / "work.py", self.folder, VERSION=next(self._version))).succeeded()

    def kill_in_a_deploy(self) -> None:
        script = versioned(APPS / "work.py", self.folder, VERSION=next(self._version))
        with self.work.engine.start_modal("deploy", script) as deploy:
            self.pause(1.5)
            self.kill_the_engine()
            deploy.wait(within=120)

    def kill_a_client(self) -> None:
        with self.work.engine.start_python(APPS / "spawn_loop.py", self.token("loop")) as loop:
            self.pause(2)
            loop.process.kill()
            loop.wait(within=60)
        self.work.accepted |= accepted_by(loop)

    def restart_in_good_order(self) -> None:
        self.was_deaf = True
        self.work.engine.stop().succeeded()
        self.work.engine.start()


FAULTS: list[Callable[[Storm], None]] = [
    Storm.kill_a_container,
    Storm.kill_all_containers,
    Storm.freeze_a_container,
    Storm.kill_the_engine,
    Storm.cut_the_power,
    Storm.cut_the_power_at_the_start,
    Storm.hold_the_database,
    Storm.redeploy,
    Storm.kill_in_a_deploy,
    Storm.kill_a_client,
    Storm.restart_in_good_order,
]


def a_while(storm: Storm) -> None:
    """Some faults, with work before, beside and after each."""
    with storm.mapping(), ThreadPoolExecutor() as pool:
        asked = []
        for fault in storm.chance.choices(FAULTS, k=FAULTS_BETWEEN_CHECKS):
            storm.spawn_some()
            asked += [pool.submit(storm.call, storm.token("call")), pool.submit(storm.ask_the_site, storm.token("web"))]
            storm.pause(1)
            storm.note(fault.__name__.replace("_", " "))
            fault(storm)
            storm.spawn_some()
        for one in asked:
            one.result(timeout=120)


@pytest.mark.timeout(MINUTES * 60 + 900)
def test_nothing_is_lost_or_doubled_whatever_happens_in_whatever_order(work: Workload, tmp_path: Path) -> None:
    storm = Storm(work, random.Random(SEED), tmp_path)
    print(f"\nSEED={SEED} MINUTES={MINUTES:g}", flush=True)
    end = time.monotonic() + MINUTES * 60
    try:
        while time.monotonic() < end:
            a_while(storm)
            invariants.check(work)
            storm.note(f"nothing lost of {len(work.accepted) + len(work.failing)}")
            work.accepted.clear()
            work.failing.clear()
    except BaseException:
        print(f"SEED={SEED}: what was done\n" + "\n".join(storm.journal), flush=True)
        raise
