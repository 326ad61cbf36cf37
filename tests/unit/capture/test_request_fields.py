"""What is read out of a request: model and sampling as texts, nothing that may be about a person."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditlog.capture.request_fields import MAX_REQUEST_BYTES, RequestFields, read_request_fields

EMPTY = RequestFields()


def test_numbers_keep_their_spelling() -> None:
    """0.70 stays 0.70, and a large seed is not rounded."""
    found = read_request_fields(b'{"model":"m","temperature":0.70,"top_p":1e-1,"seed":18446744073709551615}')
    assert found.model == "m"
    assert found.sampling == {"seed": "18446744073709551615", "temperature": "0.70", "top_p": "1e-1"}


def test_only_sampling_members_are_read() -> None:
    """Prompts, stop sequences, users and unknown members stay in the request's own fields."""
    body = {"prompt": "x", "stop": ["Jane"], "user": "jane", "n": 2, "stream": True, "x_debug": 1}
    assert read_request_fields(json.dumps(body).encode()).sampling == {"n": "2", "stream": "true"}


@pytest.mark.parametrize("name", ["parameters", "options", "sampling_params"])
def test_nested_parameters_are_read_too(name: str) -> None:
    """TGI, ollama and SGLang put them one level down; the outer level wins."""
    body = {"temperature": 1, name: {"temperature": 0.5, "top_k": 3, "do_sample": False}}
    found = read_request_fields(json.dumps(body).encode()).sampling
    assert found == {"do_sample": "false", "temperature": "1", "top_k": "3"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b'{"model":',
        b"\xff",
        b'{"a":' * 100_000,
        b"{" + b" " * MAX_REQUEST_BYTES + b"}",
    ],
)
def test_anything_else_gives_nothing(body: bytes) -> None:
    """What is no JSON object of reasonable size and depth says nothing."""
    assert read_request_fields(body) == EMPTY


@pytest.mark.parametrize("value", ['"1"', "[1]", "{}", "null", "1" * 41, '"' + "x" * 300 + '"'])
def test_odd_values_are_left_out(value: str) -> None:
    """Texts, containers and endless numbers are no sampling parameter, nor a model name."""
    assert read_request_fields(f'{{"temperature":{value}}}'.encode()).sampling == {}
    if value not in ('"1"',):
        assert read_request_fields(f'{{"model":{value}}}'.encode()).model is None


@given(
    st.binary(max_size=200) | st.recursive(st.text(), lambda x: st.dictionaries(st.text(), x)).map(json.dumps)
)
def test_reading_is_total(body: Any) -> None:
    """Any bytes give fields whose texts are short."""
    found = read_request_fields(body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass"))
    assert all(len(text) <= 40 for text in found.sampling.values())
