"""Which version comes back."""

from datetime import UTC, datetime

import pytest

from freehold.domain.apps import Deployment, DeploymentKind, Layout
from freehold.domain.deployments import may_come_back, next_version, promotion_target, rollback_target
from freehold.domain.errors import Conflict, InvalidRequest, NotFound
from freehold.domain.ids import AppId

STANDARD, STAGED = DeploymentKind.STANDARD, DeploymentKind.STAGED
ROLLBACK, ROLLOVER, PROMOTION = DeploymentKind.ROLLBACK, DeploymentKind.ROLLOVER, DeploymentKind.PROMOTION


def a_history(*versions):
    """Each a kind, or a kind with the version it came from; given oldest first."""
    pairs = [version if isinstance(version, tuple) else (version, 0) for version in versions]
    items = [
        Deployment(
            app_id=AppId("ap-1"),
            version=number,
            deployed_at=datetime(2026, 1, number, tzinfo=UTC),
            client_version="1.6.4",
            layout=Layout(),
            kind=kind,
            rollback_of=source,
        )
        for number, (kind, source) in enumerate(pairs, start=1)
    ]
    return items[::-1]


@pytest.mark.parametrize(
    ("history", "target"),
    [
        ((STANDARD, STANDARD), 1),
        ((STANDARD, STANDARD, STANDARD), 2),
        ((STANDARD, STANDARD, (ROLLBACK, 1)), 2),
        ((STANDARD, STANDARD, (ROLLBACK, 1), (ROLLBACK, 2)), 3),
        ((STANDARD, STANDARD, (ROLLOVER, 2)), 1),
        ((STANDARD, STANDARD, (ROLLOVER, 2), (ROLLOVER, 3)), 1),
        ((STANDARD, STAGED, STANDARD), 1),
        ((STANDARD, STAGED, (PROMOTION, 2)), 1),
    ],
)
def test_without_a_version_the_code_before_this_one_comes_back(history, target):
    versions = a_history(*history)
    assert rollback_target(versions, versions[0].version, None).version == target


@pytest.mark.parametrize("history", [(STANDARD,), (STANDARD, (ROLLOVER, 1)), (STAGED, (PROMOTION, 1))])
def test_where_no_other_code_ran_there_is_nothing_to_go_back_to(history):
    versions = a_history(*history)
    with pytest.raises(Conflict, match="no earlier version"):
        rollback_target(versions, versions[0].version, None)


def test_a_staged_version_after_the_live_one_does_not_count():
    assert rollback_target(a_history(STANDARD, STANDARD, STAGED), 2, None).version == 1


def test_any_version_that_was_live_may_be_named():
    versions = a_history(STANDARD, STANDARD, STANDARD)
    assert rollback_target(versions, 3, 1).version == 1


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [(9, NotFound, "no version v9. It has v1 to v3"), (3, InvalidRequest, "is live"), (2, InvalidRequest, "promote"), (0, NotFound, "v0")],
)
def test_a_version_that_cannot_come_back_is_refused_in_words(asked, error, words):
    with pytest.raises(error, match=words):
        rollback_target(a_history(STANDARD, STAGED, STANDARD), 3, asked)


def test_only_what_was_staged_is_promoted():
    versions = a_history(STANDARD, STAGED)
    assert promotion_target(versions, 2).version == 2
    with pytest.raises(InvalidRequest, match="was not staged"):
        promotion_target(versions, 1)


def test_the_history_says_what_may_come_back():
    assert [may_come_back(item, 3) for item in a_history(STANDARD, STAGED, STANDARD)] == [False, False, True]


def test_versions_count_on_past_staged_ones():
    assert (next_version([]), next_version(a_history(STANDARD, STAGED))) == (1, 3)
