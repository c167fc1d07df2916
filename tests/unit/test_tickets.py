"""What clients hold of their calls, and show again to an engine that may not know them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.domain.calls import CallKind
from freehold.domain.errors import InvalidRequest
from freehold.domain.ids import new_call_id, new_function_id, new_input_id
from freehold.wire.tickets import CallTicket, InputTicket


@pytest.mark.parametrize("parent", ["", new_input_id()])
@pytest.mark.parametrize("kind", CallKind)
def test_a_call_ticket_says_what_it_said(kind, parent):
    ticket = CallTicket(new_call_id(), new_function_id(), kind, parent)
    assert CallTicket.read(str(ticket)) == ticket


def test_an_input_ticket_says_what_it_said():
    ticket = InputTicket(new_call_id(), new_input_id(), 41, 2)
    assert InputTicket.read(str(ticket)) == ticket


@given(st.text(max_size=200))
def test_anything_else_is_refused_in_words(text):
    for kind in (CallTicket, InputTicket):
        with pytest.raises(InvalidRequest, match="Call the function again"):
            kind.read(text)


@pytest.mark.parametrize("number", ["", "-1", "²", "99999999999", "2147483648", "1e3"])
def test_numbers_that_the_wire_cannot_carry_are_refused(number):
    with pytest.raises(InvalidRequest):
        InputTicket.read(f"{new_call_id()}.{new_input_id()}.0.{number}")
