"""Schedules: the rules by which functions are called by themselves, and what is due at a moment.

A Cron rule means the wall clock of its zone, as Debian's cron does: what falls into the hour that is skipped in spring runs right after
it, what falls into the hour that comes twice in autumn runs once; rules with `*` for minute or hour follow real time instead. A Period
counts from its anchor in UTC, where a day is 24 hours: the n-th time is the anchor and n periods, so month ends do not wander.
"""

import math
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from freehold.domain.errors import InvalidRequest
from freehold.domain.ids import AppId, CallId, FunctionId

_SOME_DAY = datetime(2024, 1, 1, tzinfo=UTC)
_FIELDS = 5  # cronsim takes a sixth, for seconds, which neither crontab(5) nor Modal has
_SHORTEST = timedelta(seconds=1)
_MONTH = timedelta(days=30.436875)  # on average, over the 400 years after which the calendar repeats
_MOST_COUNTED = 1000  # missed times; an engine may have been down for a year, with a rule for every minute


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    text: str
    timezone: str = ""  # of the IANA database; empty is UTC

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    years: int = 0
    months: int = 0
    weeks: int = 0
    days: int = 0
    hours: int = 0
    minutes: int = 0
    seconds: float = 0

    def __str__(self) -> str:
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return "every " + " ".join(f"{value:g} {name.removesuffix('s') if value == 1 else name}" for name, value in given.items() if value)

    @property
    def whole_months(self) -> int:
        return 12 * self.years + self.months

    @property
    def rest(self) -> timedelta:
        """Everything that has one length. Raises OverflowError beyond a million years."""
        return timedelta(weeks=self.weeks, days=self.days, hours=self.hours, minutes=self.minutes, seconds=self.seconds)


Rule = Cron | Period


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The rule of one deployed function. `next_at` is None while it is paused, and when its rule has no further time."""

    function_id: FunctionId
    app_id: AppId
    rule: Rule
    anchor: datetime  # the deploy that set the rule
    next_at: datetime | None
    is_paused: bool = False
    last_at: datetime | None = None  # the due time of its last run, or the moment at which it was run by hand
    last_call_id: CallId | None = None
    missed: int = 0  # due times without a run of their own, since the rule was set


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What becomes of a schedule whose time has come: one run or none, and the row that says so."""

    due_at: datetime | None  # the time to run for; None: all that passed is too long ago
    missed: int
    after: Schedule


def check(rule: Rule) -> None:
    """Raises InvalidRequest, in words for the person who deploys it."""
    if isinstance(rule, Cron):
        _check_cron(rule)
    else:
        _check_period(rule)
    if next_due(rule, _SOME_DAY, _SOME_DAY) is None:
        msg = f"The schedule '{rule}' is never due."
        raise InvalidRequest(msg)


def next_due(rule: Rule, after: datetime, anchor: datetime) -> datetime | None:
    """The first due time later than `after`, in UTC; None where the calendar ends."""
    if isinstance(rule, Cron):
        return _next_cron(rule, after)
    try:
        return _next_period(rule, after, anchor)
    except (OverflowError, ValueError):  # beyond the year 9999
        return None


def begin(function_id: FunctionId, app_id: AppId, rule: Rule, now: datetime) -> Schedule:
    """A rule that is set now. A Period is due for the first time when it has passed once."""
    return Schedule(function_id=function_id, app_id=app_id, rule=rule, anchor=now, next_at=next_due(rule, now, now))


def follow(schedule: Schedule, rule: Rule, now: datetime) -> Schedule:
    """After a redeploy: the same rule keeps its beat, another one starts anew. What is paused stays so."""
    if rule == schedule.rule:
        return schedule
    fresh = begin(schedule.function_id, schedule.app_id, rule, now)
    kept = replace(fresh, last_at=schedule.last_at, last_call_id=schedule.last_call_id)
    return pause(kept) if schedule.is_paused else kept


def pause(schedule: Schedule) -> Schedule:
    return replace(schedule, is_paused=True, next_at=None)


def resume(schedule: Schedule, now: datetime) -> Schedule:
    """From now on: what passed while it was paused was not wanted, so it is not missed."""
    return replace(schedule, is_paused=False, next_at=next_due(schedule.rule, now, schedule.anchor))


def take_turn(schedule: Schedule, now: datetime, grace: timedelta) -> Turn | None:
    """What to do about a schedule now; None: nothing, it is not due.

    Of several times that have passed the last one gets a run, unless it is longer ago than `grace`; the others are missed.
    """
    if schedule.next_at is None or schedule.next_at > now:
        return None
    last = _last_due(schedule, schedule.next_at, now)
    is_in_time = now - last <= grace
    missed = _count(schedule, schedule.next_at, last) + (not is_in_time)
    changed = replace(schedule, next_at=next_due(schedule.rule, now, schedule.anchor), missed=schedule.missed + missed)
    return Turn(due_at=last if is_in_time else None, missed=missed, after=changed)


def _check_cron(rule: Cron) -> None:
    try:
        if len(rule.text.split()) != _FIELDS:
            raise CronSimError("Wrong number of fields")  # noqa: EM101, TRY301 — in cronsim's own words
        CronSim(rule.text, _SOME_DAY)
    except CronSimError as error:
        msg = f"{rule.text[:200]!r} is not a cron schedule: {error}. Write five fields, such as '0 9 * * 1-5' for nine on weekdays."
        raise InvalidRequest(msg) from error
    try:
        _zone(rule)
    except (ValueError, OSError, KeyError) as error:
        msg = f"{rule.timezone[:200]!r} is not a time zone that this machine knows. Use a name such as 'Europe/Berlin'."
        raise InvalidRequest(msg) from error


def _check_period(rule: Period) -> None:
    given = {field.name: getattr(rule, field.name) for field in fields(rule) if getattr(rule, field.name)}
    written = f"Period({', '.join(f'{name}={value:g}' for name, value in given.items())})"
    if any(value < 0 or not math.isfinite(value) for value in given.values()):
        msg = f"{written} cannot be a schedule: each part of a Period is a number of at least 0."
        raise InvalidRequest(msg)
    try:
        is_too_short = not rule.whole_months and rule.rest < _SHORTEST
    except OverflowError:
        return  # too long, which is found out where its first time is
    if is_too_short:
        msg = f"{written} is too short for a schedule: the shortest Period is one second."
        raise InvalidRequest(msg)


def _zone(rule: Cron) -> tzinfo:
    return ZoneInfo(rule.timezone) if rule.timezone not in ("", "UTC") else UTC


def _next_cron(rule: Cron, after: datetime) -> datetime | None:
    for moment in CronSim(rule.text, after.astimezone(_zone(rule))):
        due = moment.astimezone(UTC)
        if due > after:  # in the hour that comes twice, cronsim names times of the first round also in the second
            return due
    return None


def _next_period(rule: Period, after: datetime, anchor: datetime) -> datetime:
    average = rule.whole_months * _MONTH + rule.rest
    n = max(int((after - anchor) / average) - 1, 1)
    while n > 1 and _nth(rule, anchor, n - 1) > after:
        n -= 1
    while (due := _nth(rule, anchor, n)) <= after:
        n += 1
    return due


def _nth(rule: Period, anchor: datetime, n: int) -> datetime:
    """The anchor and n periods. A day that its month does not have is the last of the month."""
    year, month = divmod(anchor.year * 12 + anchor.month - 1 + n * rule.whole_months, 12)
    first = anchor.replace(year=year, month=month + 1, day=1)
    day = min(anchor.day, (_first_of_next_month(first) - timedelta(days=1)).day)
    return first.replace(day=day) + n * rule.rest


def _first_of_next_month(first: datetime) -> datetime:
    return (first + timedelta(days=31)).replace(day=1)


def _last_due(schedule: Schedule, first: datetime, now: datetime) -> datetime:
    """The last due time up to now. Found by halving: there may be a million between it and the first."""
    low, high = first, now  # no due time lies between `high` and now
    while (following := next_due(schedule.rule, low, schedule.anchor)) is not None and following <= now:
        low = following
        middle = low + (high - low) / 2
        later = next_due(schedule.rule, middle, schedule.anchor)
        if later is not None and later <= now:
            low = later
        else:
            high = middle
    return low


def _count(schedule: Schedule, first: datetime, last: datetime) -> int:
    """How many due times there are from the first to just before the last."""
    count, moment = 0, first
    while moment < last and count < _MOST_COUNTED and (following := next_due(schedule.rule, moment, schedule.anchor)) is not None:
        count, moment = count + 1, following
    return count
