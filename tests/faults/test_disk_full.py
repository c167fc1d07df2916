"""A disk without room: nothing is promised that cannot be kept, and what was promised is kept when there is room again."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import modal
import pytest
from conformance.deployment import versioned
from conformance.engine import Engine
from conformance.leftovers import leftovers
from conformance.waiting import eventually

from faults.conftest import APPS, held_against_the_engine
from faults.small_disk import SmallDisk, small_disk
from faults.victims import containers
from faults.workload import Workload


@pytest.fixture(scope="module")
def disk(engine: Engine) -> Iterator[SmallDisk]:
    """The `engine` has built the images that are shown here."""
    if not shutil.which("mkfs.ext4"):
        pytest.skip("mkfs.ext4 is not there: apt-get install e2fsprogs")
    with small_disk(engine.home.with_name("small-disk"), mib=96, images_of=engine.home) as disk:
        yield disk


@pytest.fixture(scope="module")
def tight(engine: Engine, disk: SmallDisk) -> Iterator[Engine]:
    live = Engine(disk.home)
    live.log = engine.home.with_name("small-disk.log")
    live.start()
    live.modal("deploy", APPS / "work.py").succeeded()
    yield live
    live.stop().succeeded()
    # The mount of this test is no leftover, and every engine that was started meanwhile has it in its own mount namespace.
    assert leftovers(disk.home).keys() <= {"mounts", "processes"}


@pytest.fixture
def work(tight: Engine) -> Iterator[Workload]:
    if not tight.is_running():  # an earlier test failed while it was down
        tight.start()
    yield from held_against_the_engine(Workload(tight))


@pytest.fixture
def roomy(disk: SmallDisk, work: Workload) -> Iterator[SmallDisk]:
    """To be filled by the test, with a container that is warm already; with room when the invariants are checked."""
    work.function("quick").remote("warm")
    yield disk
    disk.free()


@pytest.fixture
def filled(roomy: SmallDisk) -> SmallDisk:
    """Full from the first moment of the test."""
    roomy.fill()
    return roomy


@pytest.fixture(autouse=True)
def _same_engine(tight: Engine) -> Iterator[None]:
    """A full disk ends no engine. The supervisor would start another, and hide it."""
    deaths = tight.log_tail(10_000_000).count("The engine died")
    yield
    assert tight.log_tail(10_000_000).count("The engine died") == deaths


def spawn_until_refused(work: Workload, prefix: str) -> modal.exception.Error:
    """What is acknowledged before counts as accepted. There is always some room left in the files of the database."""
    for number in range(3000):
        try:
            work.spawn("quick", f"{prefix}-{number}-" + "x" * 1000)
        except modal.exception.Error as error:
            return error
    pytest.fail("Nothing was refused.")


def starts_that_failed(work: Workload) -> int:
    return work.engine.log_tail(10_000_000).count("start_failed")


def test_a_full_disk_refuses_spawn_with_words_and_takes_it_again_when_there_is_room(work: Workload, filled: SmallDisk) -> None:
    error = spawn_until_refused(work, "crowded")

    assert isinstance(error, modal.exception.ResourceExhaustedError), repr(error)
    assert "full" in str(error)
    filled.free()
    work.spawn("quick", "roomy")


def test_remote_answers_while_the_disk_is_full(work: Workload, filled: SmallDisk) -> None:
    spawn_until_refused(work, "before-remote")

    assert [work.function("quick").remote(f"full-{number}") for number in range(20)] == [f"full-{number}" for number in range(20)]


def test_results_that_come_while_the_disk_is_full_are_kept_when_there_is_room(work: Workload, roomy: SmallDisk) -> None:
    for number in range(30):
        work.spawn("quick", f"unwritten-{number}", 5)
    work.wait_until_running("unwritten-29")
    roomy.fill()

    spawn_until_refused(work, "crowding-out")
    eventually(lambda: "write_delayed" in work.engine.log_tail(20_000), within=60, what="A result that could not be written")


def test_inputs_that_wait_for_a_container_while_the_disk_is_full_are_run_when_there_is_room(work: Workload, roomy: SmallDisk) -> None:
    """A start needs room, which is no fault of the function: it is not given up."""
    for number in range(3):  # all that it may have
        work.spawn_failing("exited with code 137", "alone", f"in-the-way-{number}", 600)
    for number in range(3):
        work.wait_until_running(f"in-the-way-{number}")
        work.spawn("alone", f"cold-{number}")
    failed = starts_that_failed(work)

    roomy.fill()
    in_the_way = {work.task_of(f"in-the-way-{number}") for number in range(3)}
    for container in containers(work.engine.home):
        if container.task_id in in_the_way:
            container.kill()
    eventually(lambda: starts_that_failed(work) >= failed + 4, within=60, what="Starts that failed, one after the other")


def test_a_deploy_on_a_full_disk_fails_with_words_and_leaves_the_old_version(work: Workload, filled: SmallDisk, tmp_path: Path) -> None:
    spawn_until_refused(work, "before-deploy")
    deploy = work.engine.modal("deploy", versioned(APPS / "work.py", tmp_path, VERSION=2))

    assert deploy.code != 0
    assert "full" in deploy.output
    filled.free()
    assert work.function("version").remote() == 1
    work.engine.modal("deploy", versioned(APPS / "work.py", tmp_path, VERSION=2)).succeeded()
    assert work.function("version").remote() == 2


def test_an_engine_killed_on_a_full_disk_starts_when_there_is_room_and_has_lost_nothing(work: Workload, filled: SmallDisk) -> None:
    spawn_until_refused(work, "killed-when-full")
    work.engine.kill()
    filled.free()

    work.engine.start()
