"""Cron schedules are refused when they are deployed, not when they would run."""

import pytest

from freehold.domain.errors import InvalidRequest
from freehold.domain.schedules import check_cron


@pytest.mark.parametrize("text", ["* * * * *", "*/5 * * * *", "0 9 * * 1-5", "30 2 1,15 * *", "0 0 L * *"])
def test_five_fields_are_taken(text):
    check_cron(text, "")


@pytest.mark.parametrize("text", ["", "hourly", "* * * *", "60 * * * *", "* * * * * * *", "*/0 * * * *", "0 0 31 2 *\0", "1" * 10_000])
def test_what_is_no_schedule_is_refused_with_an_example(text):
    with pytest.raises(InvalidRequest, match="five fields"):
        check_cron(text, "")


def test_a_zone_must_be_known():
    check_cron("* * * * *", "Europe/Berlin")
    for zone in ("Mars/Olympus", "../../etc/passwd", "Europe/Berlin\0", "/etc/localtime"):
        with pytest.raises(InvalidRequest, match="Europe/Berlin"):
            check_cron("* * * * *", zone)
