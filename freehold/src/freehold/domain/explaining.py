"""Why something is as it is, in sentences: what is known of a function, an input or a task goes in, its explanation comes out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from freehold.domain.autoscaling import Decision, Verdict, maximum_tasks
from freehold.domain.calls import Attempt
from freehold.domain.functions import AutoscalerSettings
from freehold.domain.ids import FunctionId, TaskId
from freehold.domain.tasks import ExitKind, Task, TaskExit, TaskState

_FEW = 5  # tasks and attempts that are named one by one

_ENDS = {
    ExitKind.FINISHED: "It ended by itself",
    ExitKind.CRASHED: "It crashed",
    ExitKind.OUT_OF_MEMORY: "It was killed because it ran out of memory",
    ExitKind.STOPPED: "It was stopped by the engine",
    ExitKind.NOT_STARTED: "It could not be started",
    ExitKind.LOST: "It was lost with the engine or its machine",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    sentences: tuple[str, ...]
    numbers: Mapping[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFacts:
    """A task now. Times are seconds; `age` is how long it is in its state, `idle_for` None unless it is ready and runs nothing."""

    id: TaskId
    state: TaskState
    age: float = 0.0
    running: int = 0
    idle_for: float | None = None
    is_stopping: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionFacts:
    """A function now. `decision` is None while there is nothing to decide; `image_state` is empty once it is built."""

    id: FunctionId
    name: str
    settings: AutoscalerSettings
    ceiling: int  # of functions without max_containers
    decision: Decision | None = None
    queued: int = 0
    running: int = 0
    between_tries: int = 0
    oldest_wait: float = 0.0
    tasks: Sequence[TaskFacts] = ()
    no_place: str = ""
    is_never_placed: bool = False
    failed_starts: int = 0
    next_start_in: float = 0.0
    image_state: str = ""
    changed: Mapping[str, float] = field(default_factory=dict)
    ended: str = ""  # why it can run no more


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFacts:
    """An input now or in the past. `position` counts from 1 and is 0 unless it is queued; `end` is in words, empty without a result."""

    id: str
    position: int = 0
    waited: float = 0.0
    task_id: str = ""
    running_for: float = 0.0
    next_try_in: float | None = None
    attempts: Sequence[Attempt] = ()
    end: str = ""


def explain_function(facts: FunctionFacts) -> Explanation:
    if facts.ended:
        return Explanation(sentences=(f"{facts.name} runs no more: {facts.ended}",))
    sentences = [_demand(facts), *_obstacles(facts), *_tasks(facts.tasks, facts.settings)]
    if facts.changed:
        values = ", ".join(f"{name}={value:g}" for name, value in facts.changed.items())
        sentences.append(f"Changed since its deploy, until the next one: {values}.")
    return Explanation(sentences=tuple(sentences), numbers=_numbers(facts))


def explain_input(item: InputFacts, function: FunctionFacts) -> Explanation:
    """What it waits for, or what became of it."""
    if item.end:
        sentences = [f"{item.id} has its result: it {item.end}."]
    elif item.task_id:
        sentences = [f"{item.id} has been running on {item.task_id} for {duration(item.running_for)}."]
    elif item.next_try_in is not None:
        sentences = [f"{item.id} failed and is tried again in {duration(item.next_try_in)}."]
    elif item.position:
        sentences = [
            f"{item.id} has waited for {duration(item.waited)}, as number {item.position} of {function.queued} in the queue of {function.name}.",
            *_why_waiting(function),
        ]
    else:
        sentences = [f"{item.id} is between the queue and its container: its end is being written."]
    return Explanation(sentences=(*sentences, *_attempts(item.attempts)), numbers=_numbers(function) | {"attempts": len(item.attempts)})


def explain_task(task: Task, now: TaskFacts | None, function: FunctionFacts | None, *, started_for: str, let_go_for: str) -> Explanation:
    """Why it was started, why it is kept, or why it ended."""
    sentences = [f"{task.id} was started for this reason: {started_for or 'not recorded'}."]
    if task.gpus:
        sentences.append(f"GPUs of its machine that it was given: {', '.join(map(str, task.gpus))}.")
    if task.exit is not None:
        sentences += _end(task.exit, let_go_for)
    elif now is not None:
        sentences += _kept(now, function, let_go_for)
    return Explanation(sentences=tuple(sentences), numbers=_lifetime(task))


def in_short(facts: FunctionFacts) -> FunctionFacts:
    """Without its tasks one by one: for calls, whose own sentences are what is asked for."""
    return replace(facts, tasks=())


def _demand(facts: FunctionFacts) -> str:
    inputs = f"{_count(facts.queued, 'input')} waiting and {facts.running} running"
    if facts.between_tries:
        inputs += f", {facts.between_tries} between two tries"
    if facts.decision is None:
        if facts.tasks:
            return f"{facts.name} has {inputs}, and {_count(len(facts.tasks), 'container')}."
        return f"{facts.name} has nothing to do and no container. The next call starts one."
    return f"{facts.name} has {inputs}. It wants {_count(facts.decision.wanted, 'container')} and has {_serving(facts)}: {_states(facts.tasks)}."


def _obstacles(facts: FunctionFacts) -> list[str]:
    """Whatever keeps it from having what it wants, worst first."""
    found = []
    if facts.image_state:
        found.append(f"Its image is {facts.image_state}: containers start when it is built.")
    if facts.failed_starts:
        found.append(f"{_count(facts.failed_starts, 'start')} in a row failed; the next may be in {duration(facts.next_start_in)}.")
    if facts.no_place:
        found.append(facts.no_place if facts.is_never_placed else f"{facts.no_place} It gets room as soon as other containers leave.")
    if facts.decision is None:
        return found
    if facts.decision.verdict is Verdict.NOT_YET:
        found.append(f"More are added only once the need lasts: {facts.decision.reason}.")
    if facts.queued and facts.decision.wanted >= maximum_tasks(facts.settings, facts.ceiling):
        found.append(f"It may have no more: {_maximum(facts)}.")
    return found


def _why_waiting(facts: FunctionFacts) -> list[str]:
    starting = [task for task in facts.tasks if task.state in (TaskState.PENDING, TaskState.STARTING) and not task.is_stopping]
    sentences = _obstacles(facts)
    if starting:
        oldest = max(starting, key=lambda task: task.age)
        sentences.append(
            f"{_count(len(starting), 'container')} being started; {oldest.id} has been {oldest.state} for {duration(oldest.age)}."
        )
    busy = [task for task in facts.tasks if task.running]
    if busy and not starting:
        sentences.append(f"{'Its container is' if len(busy) == 1 else f'All its {len(busy)} containers are'} busy.")
    if not facts.tasks and not sentences:
        sentences.append("It has no container yet: one is asked for at the next look, in milliseconds.")
    return sentences


def _maximum(facts: FunctionFacts) -> str:
    if facts.settings.max_containers:
        return f"max_containers={facts.settings.max_containers}"
    return f"FREEHOLD_DEFAULT_MAX_CONTAINERS={facts.ceiling}, for functions that name no max_containers"


def _tasks(tasks: Sequence[TaskFacts], settings: AutoscalerSettings) -> list[str]:
    sentences = [_task_now(task, settings) for task in tasks[:_FEW]]
    if len(tasks) > _FEW:
        sentences.append(f"And {len(tasks) - _FEW} more.")
    return sentences


def _task_now(task: TaskFacts, settings: AutoscalerSettings) -> str:
    if task.is_stopping:
        return f"{task.id} is being stopped."
    match task.state:
        case TaskState.PENDING | TaskState.STARTING:
            return f"{task.id} has been starting for {duration(task.age)} ({task.state})."
        case TaskState.DRAINING:
            return f"{task.id} finishes {_count(task.running, 'input')} and leaves."
        case _ if task.running:
            return f"{task.id} runs {_count(task.running, 'input')}."
        case _:
            window = settings.scaledown_window.total_seconds()
            return f"{task.id} has been idle for {duration(task.idle_for or 0.0)} (scaledown_window is {window:g} s)."


def _kept(now: TaskFacts, function: FunctionFacts | None, let_go_for: str) -> list[str]:
    if now.is_stopping or now.state is TaskState.DRAINING:
        return [f"It is on its way out: {let_go_for or 'it was asked to leave'}."]
    if now.state is not TaskState.READY:
        return [f"It has been starting for {duration(now.age)} ({now.state})."]
    if now.running:
        return [f"It is kept because it runs {_count(now.running, 'input')}."]
    if function is None:
        return [f"It has been idle for {duration(now.idle_for or 0.0)}."]
    return [_why_idle_is_kept(now, function)]


def _why_idle_is_kept(now: TaskFacts, function: FunctionFacts) -> str:
    window, idle = function.settings.scaledown_window.total_seconds(), now.idle_for or 0.0
    wanted = function.decision.wanted if function.decision else 0
    if wanted and _serving(function) <= wanted:
        why = f"min_containers={function.settings.min_containers}" if wanted == function.settings.min_containers else "buffer and inputs"
        return f"It has been idle for {duration(idle)} and is kept because {function.name} wants {_count(wanted, 'container')} ({why})."
    if idle < window:
        return f"It has been idle for {duration(idle)} and leaves when that is {window:g} s (scaledown_window), unless an input comes."
    return f"It has been idle for {duration(idle)}, longer than its scaledown_window of {window:g} s, and leaves with the next group."


def _end(end: TaskExit, let_go_for: str) -> list[str]:
    code = f" with code {end.code}" if end.code else ""
    sentences = [f"{_ENDS[end.kind]}{code}{': ' + let_go_for if let_go_for else ''}."]
    if end.detail and end.kind not in (ExitKind.FINISHED, ExitKind.STOPPED):
        sentences.append(f"Its last words: {end.detail.strip()[-500:]}")
    return sentences


def _attempts(attempts: Sequence[Attempt]) -> list[str]:
    if not attempts or (len(attempts) == 1 and attempts[0].ended_at is None):
        return []
    if len(attempts) == 1:
        return [f"It ran on {attempts[0].task_id}{_outcome(attempts[0])}."]
    told = [f"Try {item.number + 1} ran on {item.task_id}{_outcome(item)}." for item in attempts[-_FEW:]]
    return [f"It has been tried {len(attempts)} times.", *told]


def _outcome(attempt: Attempt) -> str:
    if attempt.ended_at is None:
        return " and runs still"
    seconds = (attempt.ended_at - attempt.started_at).total_seconds()
    return f" for {duration(seconds)}" + (f": {attempt.outcome.rstrip('.')}" if attempt.outcome else "")


def _serving(facts: FunctionFacts) -> int:
    return sum(1 for task in facts.tasks if task.state is not TaskState.DRAINING and not task.is_stopping)


def _states(tasks: Sequence[TaskFacts]) -> str:
    if not tasks:
        return "none yet"
    names = ["leaving" if task.is_stopping or task.state is TaskState.DRAINING else _state(task) for task in tasks]
    return ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names))


def _state(task: TaskFacts) -> str:
    if task.state is not TaskState.READY:
        return "being started"
    return "busy" if task.running else "idle"


def _numbers(facts: FunctionFacts) -> dict[str, float | str]:
    return {
        "queued": facts.queued,
        "running": facts.running,
        "oldest_wait_s": round(facts.oldest_wait, 3),
        "containers": len(facts.tasks),
        "wanted": facts.decision.wanted if facts.decision else 0,
        "min_containers": facts.settings.min_containers,
        "max_containers": maximum_tasks(facts.settings, facts.ceiling),
        "buffer_containers": facts.settings.buffer_containers,
        "scaledown_window_s": facts.settings.scaledown_window.total_seconds(),
    }


def _lifetime(task: Task) -> dict[str, float | str]:
    moments = (("started", task.started_at), ("ready", task.ready_at), ("ended", task.ended_at))
    after = {f"{name}_after_s": round((at - task.enqueued_at).total_seconds(), 3) for name, at in moments if at is not None}
    return {"state": task.state.value, "wanted_at": task.enqueued_at.isoformat(), **after}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Seconds, in the largest unit that tells enough."""
    if 0 < seconds < 0.1:  # noqa: PLR2004 — tenths say nothing yet
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:  # noqa: PLR2004 — tenths say something only of short times
        return f"{seconds:.1f} s"
    for unit, length, most in (("s", 1, 600), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < most:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"
