"""Events: recorded facts, so that the story of one id can be read from first wish to last exit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`subject` is the id it happened to, `kind` a past-tense word, `cause` the id or the reason behind it."""

    subject: str
    at: datetime
    kind: str
    cause: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What is known of one id. `links` are addresses that belong to it: name → URL."""

    title: str
    facts: Mapping[str, str]
    links: Mapping[str, str]
    events: Sequence[Event]
    sentences: Sequence[str] = ()  # why it is as it is
