"""One engine per home: who holds the lock, what the record says, and how an engine is ended."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from freehold.cli import engine
from freehold.domain.errors import Conflict, PermissionDenied, Unavailable

HOLD = """
import signal
from freehold.cli import engine
from freehold.config import Settings
{prelude}
with engine.alone(Settings.load()):
    print("held", flush=True)
    signal.sigwait([signal.SIGTERM])
"""
PATIENT = "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])"
DEAF = PATIENT + "\nsignal.sigwait = lambda signals: signal.pause()"


@contextmanager
def another_engine(prelude=PATIENT):
    """A process that holds the lock of this home until SIGTERM."""
    process = subprocess.Popen([sys.executable, "-c", HOLD.format(prelude=prelude)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class TestAlone:
    def test_a_home_that_is_new_has_no_engine(self, home):
        assert engine.find(home) is None

    def test_a_running_engine_says_where_it_answers(self, settings):
        with another_engine() as process:
            found = engine.find(settings.root)

        assert found == engine.Engine(pid=process.pid, control_url=settings.control_url, gateway_url=settings.gateway_url)

    def test_a_home_that_others_could_enter_is_closed(self, home, settings):
        home.mkdir(mode=0o755)
        (home / "config.toml").touch()

        with engine.alone(settings):
            assert home.stat().st_mode & 0o777 == 0o700

    def test_a_folder_of_somebody_else_is_left_as_it_is(self, home, settings):
        home.mkdir(mode=0o755)
        (home / "thesis.tex").touch()

        with pytest.raises(PermissionDenied, match=r"thesis\.tex.*chmod 700"), engine.alone(settings):
            pass

        assert home.stat().st_mode & 0o777 == 0o755
        assert [path.name for path in home.iterdir()] == ["thesis.tex"]

    def test_a_second_engine_of_one_home_is_refused(self, settings, monkeypatch):
        monkeypatch.setattr(engine, "_LOCK_SECONDS", 0.1)
        with another_engine(), pytest.raises(Conflict, match="`freehold down` ends it"), engine.alone(settings):
            pass

    def test_the_record_of_an_engine_that_was_killed_means_nothing(self, settings):
        with another_engine() as process:
            process.kill()
            process.wait()

            assert engine.find(settings.root) is None

    def test_the_home_is_for_its_owner_only(self, settings):
        with engine.alone(settings):
            assert settings.root.stat().st_mode & 0o777 == 0o700


class TestStop:
    def test_an_engine_that_listens_ends_by_itself(self, settings):
        with another_engine():
            assert engine.stop(engine.find(settings.root), grace=10)
            assert engine.find(settings.root) is None

    def test_an_engine_that_does_not_listen_is_killed(self, settings):
        with another_engine(DEAF) as process:
            assert not engine.stop(engine.find(settings.root), grace=0.2)
            assert process.wait() == -signal.SIGKILL

    def test_an_engine_that_is_gone_counts_as_ended(self):
        process = subprocess.Popen([sys.executable, "-c", ""])
        process.wait()

        assert engine.stop(engine.Engine(pid=process.pid, control_url="", gateway_url=""))


class TestStart:
    def test_an_engine_that_ends_while_it_starts_shows_the_end_of_its_log(self, settings, monkeypatch):
        engine.log_file(settings.root).parent.mkdir(parents=True)
        engine.log_file(settings.root).write_text("from yesterday\n")
        monkeypatch.setenv("FREEHOLD_LOG_LEVEL", "loud")

        with pytest.raises(Unavailable, match=r"ended while it started(?s:.*)log_level \(FREEHOLD_LOG_LEVEL\) cannot be 'loud'") as refusal:
            engine.start(settings, [])

        assert "from yesterday" not in str(refusal.value)


class TestHealth:
    def test_an_engine_that_does_not_answer_is_named_with_its_remedy(self, settings):
        silent = engine.Engine(pid=os.getpid(), control_url=settings.control_url, gateway_url=settings.gateway_url)

        with pytest.raises(Unavailable, match=r"does not answer at http://127.0.0.1.*`freehold down` ends it"):
            engine.health(silent)
