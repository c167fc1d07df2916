"""What must hold after every fault, once the engine has come to rest: nothing lost, nothing twice, nothing left behind."""

import time
from pathlib import Path

import modal
from conformance.engine import Engine
from conformance.waiting import eventually
from modal_proto import api_pb2

from faults.database import reading
from faults.victims import containers, needed_zygotes, task_of, zygotes
from faults.workload import Workload
from freehold.worker.naming import home_key
from freehold.worker.zygotes import pool, spares

_LOOK = 0.2  # seconds
_REST = 90.0  # seconds that the engine may need to finish what was accepted


def check(work: Workload) -> None:
    """Every promise that was made to this workload is kept, and nothing is under way that nobody waits for."""
    work.fresh_client()
    _each_accepted_call_has_its_result(work)
    eventually(lambda: not _unfinished(work.engine.home), within=_REST, what="No input on disk without a result")
    assert not _doubled(work.engine.home), "An input is on disk twice."
    eventually(lambda: _is_idle(work.engine), within=_REST, what="No input queued or running")
    _nothing_is_left_behind(work.engine)


def _nothing_is_left_behind(engine: Engine) -> None:
    """Beyond what living tasks need."""
    deadline = time.monotonic() + _REST
    while left := strays(engine):
        assert time.monotonic() < deadline, f"Left behind on the machine for {_REST:g} s: {left}"
        time.sleep(_LOOK)


def _each_accepted_call_has_its_result(work: Workload) -> None:
    wrong = {}
    for call_id, token in work.accepted.items():
        answer = _answer(work, call_id)
        if answer != token:
            wrong[token] = f"{call_id}: {token} was wanted, {answer!r} came"
    for call_id, words in work.failing.items():
        answer = _answer(work, call_id)
        if words not in str(answer):
            wrong[call_id] = f"an error with {words!r} was wanted, {answer!r} came"
    assert not wrong, wrong


def _answer(work: Workload, call_id: str) -> object:
    try:
        return work.result(call_id, within=_REST)
    except (modal.exception.Error, TimeoutError, LookupError, ConnectionError) as error:
        return error


def _is_idle(engine: Engine) -> bool:
    stats = [
        engine.call("FunctionGetCurrentStats", api_pb2.FunctionGetCurrentStatsRequest(function_id=function_id))
        for function_id in _live_functions(engine.home)
    ]
    return not any(one.backlog or one.num_running_inputs for one in stats)


def strays(engine: Engine) -> dict[str, set[str]]:
    """What there is on the machine, or in the tasks table, beyond what the engine says is alive: tasks, what it forks them from, builds."""
    alive = {task.task_id for task in engine.call("TaskList", api_pb2.TaskListRequest()).tasks}
    key, tasks, forked_from = home_key(engine.home), task_of(engine.home), needed_zygotes(engine.home)
    found = {
        "containers": {container.task_id for container in (*containers(engine.home), *zygotes(engine.home))},
        "roots": {folder.name for folder in (engine.home / "roots").glob("*")},
        "control groups": {path.name for path in Path("/sys/fs/cgroup").glob(f"*/freehold-{key}/*") if path.is_dir()},
        "task files": {folder.name for folder in (engine.home / "run" / "tasks").glob("*")},
        "rows of living tasks": _rows(engine.home, "SELECT id FROM tasks WHERE state != 'ended'"),
    }
    of_tasks = {kind: {tasks.get(name, name) for name in names if not name.startswith("build-")} - alive for kind, names in found.items()}
    beyond = {kind: _more_than_kept(engine, names - forked_from) for kind, names in of_tasks.items()}
    links = {path.name for path in Path("/sys/class/net").glob(f"v{key}*")}
    if len(links) > len(alive) + len(list((engine.home / "roots").glob("build-*"))) + engine.spare_containers:
        beyond["interfaces"] = links
    return {kind: names for kind, names in beyond.items() if names}


def _more_than_kept(engine: Engine, names: set[str]) -> set[str]:
    """These without containers ahead of tasks, if there are no more of each kind than the engine keeps."""
    kept = {pool.PREFIX: int(engine.status()["zygotes"].split()[0]), spares.PREFIX: engine.spare_containers}
    for prefix, most in kept.items():
        ahead = {name for name in names if name.startswith(prefix)}
        names = names - ahead if len(ahead) <= most else names
    return names


def exit_code(engine: Engine, task_id: str) -> int:
    """Of a task that has ended, as soon as it is on disk."""
    query = "SELECT exit_code FROM tasks WHERE id = ? AND state = 'ended'"

    def look() -> tuple[int] | None:
        with reading(engine.home) as database:
            found: tuple[int] | None = database.execute(query, (task_id,)).fetchone()
            return found

    return eventually(look, within=60, what=f"{task_id} ended in the tasks table")[0]


def _unfinished(home: Path) -> set[str]:
    return _rows(home, "SELECT id FROM inputs WHERE finished_at IS NULL OR result IS NULL")


def _doubled(home: Path) -> set[str]:
    return _rows(home, "SELECT call_id || ' ' || idx FROM inputs GROUP BY call_id, idx HAVING count(*) > 1")


def _live_functions(home: Path) -> set[str]:
    return _rows(
        home, "SELECT f.id FROM functions f JOIN apps a ON a.id = f.app_id WHERE a.state = 'deployed' AND f.live_definition_id != ''"
    )


def _rows(home: Path, query: str) -> set[str]:
    with reading(home) as database:
        return {row[0] for row in database.execute(query)}
