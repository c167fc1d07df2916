"""The table of errors: every refusal of the domain has an answer of its own."""

import pytest

from freehold.domain import errors
from freehold.gateway.errors import NotDeployed, answer_of

KINDS = errors.FreeholdError.__subclasses__()


@pytest.mark.parametrize("kind", KINDS)
def test_every_refusal_has_an_http_status(kind):
    assert answer_of(kind("why")).error != "internal"


def test_the_nearest_kind_in_the_ancestry_answers():
    class Gone(NotDeployed):
        pass

    assert answer_of(Gone("why")) == answer_of(NotDeployed("why"))
    assert answer_of(NotDeployed("why")) != answer_of(errors.NotFound("why"))


def test_anything_else_is_a_fault_of_ours():
    assert answer_of(KeyError("x")).status == 500
