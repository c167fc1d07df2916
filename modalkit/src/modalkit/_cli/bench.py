"""`modalkit bench`: a bounded load on a running service, and what came of it."""

import asyncio
import json
import math
import time
from array import array
from collections import Counter
from dataclasses import asdict, dataclass, field
from urllib.parse import urlsplit

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from modalkit._cli.invoke import Question, readable
from modalkit.errors import ModalKitError

METRIC = "modalkit_batch_items"


@dataclass(frozen=True)
class Load:
    """How much is asked: `connections` at a time, for `duration` seconds or until `requests` are made (0: no such end)."""

    connections: int
    duration: float
    requests: int = 0


@dataclass
class Batches:
    """Batches that the model was given meanwhile, as `/metrics` counts them: how many, and their size as upper bound → count."""

    count: int = 0
    items: int = 0
    sizes: dict[str, int] = field(default_factory=dict)


@dataclass
class Figures:
    """What came of it; latencies in milliseconds."""

    url: str
    connections: int
    seconds: float = 0.0
    requests: int = 0
    requests_per_s: float = 0.0
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0
    statuses: dict[int, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    batches: Batches | None = None
    first_problem: str = ""

    @property
    def is_clean(self) -> bool:
        return bool(self.statuses) and not self.errors and all(200 <= status < 300 for status in self.statuses)  # noqa: PLR2004

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=2)

    def as_text(self) -> str:
        rows = [
            ("requests", f"{self.requests:,} in {self.seconds:.1f} s over {self.connections} connections: {self.requests_per_s:,.1f}/s"),
            ("latency", f"p50 {self.p50_ms:.1f} ms · p95 {self.p95_ms:.1f} ms · p99 {self.p99_ms:.1f} ms · longest {self.max_ms:.1f} ms"),
            ("answers", ", ".join(f"{status}: {count:,}" for status, count in sorted(self.statuses.items())) or "none"),
            ("errors", ", ".join(f"{kind}: {count:,}" for kind, count in self.errors.items())),
            ("batches", _batches_text(self.batches)),
            ("problem", self.first_problem),
        ]
        return "\n".join([self.url, *(f"  {name:<9} {value}" for name, value in rows if value)])


def measure(url: str, question: Question, load: Load) -> Figures:
    """Raises ModalKitError: no address, or nobody there."""
    return asyncio.run(_measure(url, question, load))


async def _measure(base: str, question: Question, load: Load) -> Figures:
    url, headers = question.request(base)
    connector = aiohttp.TCPConnector(limit=load.connections)
    timeout = aiohttp.ClientTimeout(total=question.timeout)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session:
        await _try_once(session, url, question)
        before = await _batches(session, url)
        run = _Run(session, url, question.body, load)
        seconds = await run.go()
        after = await _batches(session, url)
    return run.figures(question.url(base), seconds, _difference(before, after))


async def _try_once(session: aiohttp.ClientSession, url: str, question: Question) -> None:
    """One request that does not count: it wakes what sleeps, and shows whether somebody is there."""
    try:
        async with session.post(url, data=question.body) as answer:
            await answer.read()
    except (aiohttp.ClientError, OSError) as error:
        msg = f"{url} cannot be reached: {error}."
        raise ModalKitError(msg) from None
    except TimeoutError:
        msg = f"{url} gave no answer within {question.timeout:g} s."
        raise ModalKitError(msg) from None


class _Run:
    """The measured part."""

    def __init__(self, session: aiohttp.ClientSession, url: str, body: bytes, load: Load) -> None:
        self._session = session
        self._url = url
        self._body = body
        self._load = load
        self._left = load.requests or None
        self._until = 0.0
        self._latencies = array("d")
        self._statuses: Counter[int] = Counter()
        self._errors: Counter[str] = Counter()
        self._first_problem = ""

    async def go(self) -> float:
        """Seconds that it took, with the answers to what was sent in time."""
        began = time.perf_counter()
        self._until = began + self._load.duration
        async with asyncio.TaskGroup() as group:
            for _ in range(self._load.connections):
                group.create_task(self._one_connection())
        return time.perf_counter() - began

    async def _one_connection(self) -> None:
        while self._may_send():
            began = time.perf_counter()
            try:
                async with self._session.post(self._url, data=self._body) as answer:
                    body = await answer.read()
            except TimeoutError:
                self._errors["no answer in time"] += 1
            except (aiohttp.ClientError, OSError) as error:
                self._errors[type(error).__name__] += 1
                await asyncio.sleep(0.05)  # a server that is gone is not asked a million times
            else:
                self._latencies.append(time.perf_counter() - began)
                self._statuses[answer.status] += 1
                if answer.status >= 400 and not self._first_problem:  # noqa: PLR2004
                    self._first_problem = readable(answer.status, body)

    def _may_send(self) -> bool:
        if time.perf_counter() >= self._until:
            return False
        if self._left is not None:
            if not self._left:
                return False
            self._left -= 1
        return True

    def figures(self, url: str, seconds: float, batches: Batches | None) -> Figures:
        ascending = [1000 * each for each in sorted(self._latencies)]
        return Figures(
            url,
            self._load.connections,
            seconds,
            requests=len(ascending) + sum(self._errors.values()),
            requests_per_s=len(ascending) / seconds,
            p50_ms=percentile(ascending, 0.50),
            p95_ms=percentile(ascending, 0.95),
            p99_ms=percentile(ascending, 0.99),
            max_ms=percentile(ascending, 1.00),
            statuses=dict(self._statuses),
            errors=dict(self._errors),
            batches=batches,
            first_problem=self._first_problem,
        )


def percentile(ascending: list[float], share: float) -> float:
    """The value that `share` of them do not exceed; 0 of none."""
    return ascending[math.ceil(len(ascending) * share) - 1] if ascending else 0.0


async def _batches(session: aiohttp.ClientSession, url: str) -> Batches | None:
    """What `/metrics` beside the route says; None where it says nothing."""
    parts = urlsplit(url)
    metrics = parts._replace(path=parts.path.rpartition("/")[0] + "/metrics", query="").geturl()
    try:
        async with session.get(metrics) as answer:
            text = await answer.text() if answer.status == 200 else ""  # noqa: PLR2004
    except (aiohttp.ClientError, OSError, TimeoutError):
        return None
    return parse_batches(text)


def parse_batches(text: str) -> Batches | None:
    """Batches of all models in Prometheus' text; None where it is another text."""
    try:
        families = {each.name: each for each in text_string_to_metric_families(text)}
    except ValueError:
        return None
    if METRIC not in families:
        return None
    batches, cumulative = Batches(), Counter[str]()
    for sample in families[METRIC].samples:
        if sample.name.endswith("_count"):
            batches.count += int(sample.value)
        elif sample.name.endswith("_sum"):
            batches.items += int(sample.value)
        elif sample.name.endswith("_bucket"):
            cumulative[sample.labels["le"]] += int(sample.value)
    below = 0
    for bound in sorted(cumulative, key=float):
        batches.sizes[bound.removesuffix(".0")] = cumulative[bound] - below
        below = cumulative[bound]
    return batches


def _difference(before: Batches | None, after: Batches | None) -> Batches | None:
    if after is None:
        return None
    before = before or Batches()
    sizes = {bound: count - before.sizes.get(bound, 0) for bound, count in after.sizes.items()}
    return Batches(after.count - before.count, after.items - before.items, {bound: count for bound, count in sizes.items() if count > 0})


def _batches_text(batches: Batches | None) -> str:
    """Where several web containers answered, `/metrics` was that of one of them, and a difference may make no sense: then nothing."""
    if batches is None or batches.count <= 0 or batches.items <= 0:
        return ""
    sizes = ", ".join(f"≤{bound}: {count:,}" for bound, count in batches.sizes.items())
    return f"{batches.count:,} of {batches.items / batches.count:.1f} items on average ({sizes})"
