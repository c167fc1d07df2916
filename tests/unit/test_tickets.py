"""What clients hold of their calls, and show again to an engine that may not know them."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modal._utils.jwt_utils import DecodedJwt

from freehold.domain.calls import CallKind
from freehold.domain.errors import InvalidRequest
from freehold.domain.ids import new_call_id, new_function_id, new_input_id
from freehold.wire.tickets import CallTicket, InputTicket

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


def a_token(claims):
    return "h." + base64.urlsafe_b64encode(json.dumps(claims).encode()).decode() + "."


@pytest.mark.parametrize("parent", ["", new_input_id()])
@pytest.mark.parametrize("kind", CallKind)
def test_a_call_ticket_says_what_it_said(kind, parent):
    ticket = CallTicket(new_call_id(), new_function_id(), kind, parent)
    assert CallTicket.read(str(ticket)) == ticket


def test_an_input_ticket_says_what_it_said():
    ticket = InputTicket(new_call_id(), new_input_id(), 41, 2)
    assert InputTicket.read(str(ticket)) == ticket


def test_the_client_finds_the_index_in_it():
    """As it does for the inputs of a map that it has sent again."""
    ticket = InputTicket(new_call_id(), new_input_id(), 41, 2)
    assert DecodedJwt.decode_without_verification(str(ticket)).payload["idx"] == 41


@given(st.text(max_size=200) | JSON.map(a_token))
def test_anything_else_is_refused_in_words(text):
    for kind in (CallTicket, InputTicket):
        with pytest.raises(InvalidRequest, match="Call the function again"):
            kind.read(text)


@pytest.mark.parametrize("number", [None, "1", -1, 2**31, 1.0, True])
def test_numbers_that_the_wire_cannot_carry_are_refused(number):
    with pytest.raises(InvalidRequest):
        InputTicket.read(a_token({"call": new_call_id(), "input": new_input_id(), "idx": 0, "attempt": number}))
