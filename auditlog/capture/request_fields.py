"""What the request of an OpenAI-compatible, TGI or Triton server says about model and sampling.

Run on the recorder's writer thread, never on the event loop. The bytes are attacker-controlled: anything odd
is left out, nothing raises, and what is kept is short. Values go into the entry as the decimal text of the
request, digit for digit; stop sequences and other free text do not: they may be about a person, and stand in
the request's own fields.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

MAX_VALUE_CHARS = 40
MAX_MODEL_CHARS = 255
MAX_REQUEST_BYTES = 1 << 20

SAMPLING_NAMES = frozenset(
    {
        "best_of", "decoder_input_details", "details", "dimensions", "do_sample", "early_stopping", "echo",
        "frequency_penalty", "ignore_eos", "length_penalty", "logprobs", "max_completion_tokens",
        "max_length", "max_new_tokens", "max_output_tokens", "max_tokens", "min_length", "min_new_tokens",
        "min_p", "min_tokens", "n", "num_beams", "num_ctx", "num_predict", "num_return_sequences",
        "penalty_alpha", "presence_penalty", "repeat_penalty", "repetition_penalty", "seed", "stream",
        "temperature", "top_k", "top_logprobs", "top_n", "top_n_tokens", "top_p", "truncate_prompt_tokens",
        "typical_p", "use_beam_search", "watermark",
    }
)  # fmt: skip
"""The members that shape the choice of tokens, under the names their servers give them."""

_SMALL_BYTES = 4096
_MOST = 10**MAX_VALUE_CHARS
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NESTED = ("parameters", "options", "sampling_params", "generation_config")


@dataclass(frozen=True, slots=True)
class RequestFields:
    """The model a request asked for, and its sampling parameters as texts."""

    model: str | None = None
    sampling: Mapping[str, str] = field(default_factory=dict)


def read_request_fields(body: bytes) -> RequestFields:
    """Read model and sampling from a JSON request; empty if it is not a JSON object of reasonable size."""
    if body.lstrip()[:1] != b"{" or len(body) > MAX_REQUEST_BYTES:
        return RequestFields()
    try:
        request = _decoder.decode(_own_members(body).decode("utf-8"))
    except (ValueError, RecursionError):
        return RequestFields()
    return fields_of(request)


def fields_of(members: Mapping[str, Any]) -> RequestFields:
    """The same from the members that `quick_fields.read_plain` found: nothing is parsed twice."""
    sampling = _sampling(members)
    for name in _NESTED:
        if name in members and type(members[name]) is dict:
            sampling = dict(sorted({**_sampling(members[name]), **sampling}.items()))
    model = members.get("model")
    is_name = type(model) is str and 0 < len(model) <= MAX_MODEL_CHARS
    return RequestFields(model if is_name else None, sampling)


def _own_members(body: bytes) -> bytes:
    """A large request without the members nobody here reads: the decoder below is slow, this one is not."""
    if len(body) <= _SMALL_BYTES:
        return body
    try:
        members = _members.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return body
    wanted = SAMPLING_NAMES.union(_NESTED, ("model",)).intersection(members)
    return b"{%b}" % b",".join(b'"%b":%b' % (name.encode(), members[name]) for name in wanted)


class _Number(str):
    """A number as the request spelled it."""

    __slots__ = ()


# Numbers stay as their source text: 0.70 is recorded as 0.70, and no huge integer is converted.
_decoder = json.JSONDecoder(parse_float=_Number, parse_int=_Number, parse_constant=_Number)


def _sampling(members: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    names = SAMPLING_NAMES.intersection(members)
    for name in sorted(names) if len(names) > 1 else names:
        text = _spelled(members[name])
        if text is not None and len(text) <= MAX_VALUE_CHARS:
            found[name] = text
    return found


def _spelled(value: object) -> str | None:
    """A truth value or number as the request spelled it; None for anything else."""
    kind = type(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is _Number:
        return str(value)
    if kind is msgspec.Raw:
        return bytes(value).decode("ascii")  # type: ignore[call-overload, no-any-return]
    # Of so many digits at most: no huge integer is converted.
    return str(value) if kind is int and -_MOST < value < _MOST else None
