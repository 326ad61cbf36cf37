"""Items of batch requests: one person's fields, and nobody else's (spec/commitment.md, "Items")."""

from __future__ import annotations

import json
from typing import Any

import pytest

from auditlog.core.items import item_fields
from auditlog.errors import DisclosureError


def fields(item: str, request: Any, response: Any) -> tuple[list[str], list[str]]:
    """The pointers of an item, of both bodies; None stands for a body without fields."""
    texts = [None if body is None else json.dumps(body).encode() for body in (request, response)]
    found = item_fields(item, texts[0], texts[1])
    return found.request, found.response


def choices(*numbers: int) -> dict[str, Any]:
    """An answer with these choices, in this order."""
    return {"id": "c", "choices": [{"index": number, "text": f"t{number}"} for number in numbers]}


def test_a_choice_belongs_to_its_prompt() -> None:
    """Of two prompts with n = 2, choice 3 is the second answer to the second prompt, wherever it stands."""
    request = {"model": "m", "prompt": ["a", "b"], "n": 2, "user": "x"}
    asked, answered = fields("choices/3", request, choices(3, 0, 1, 2))
    assert asked == ["/model", "/prompt/1", "/n"]
    assert answered == ["/id", "/choices/0/index", "/choices/0/text"]


def test_prompts_of_tokens_are_prompts() -> None:
    """An array of numbers is one prompt; an array of such arrays is several."""
    assert fields("choices/1", {"prompt": [[1, 2], [3]]}, choices(0, 1))[0] == ["/prompt/1"]
    assert fields("choices/1", {"prompt": [1, 2], "n": 2}, choices(0, 1))[0] == ["/prompt", "/n"]


def test_all_choices_of_a_chat_answer_its_messages() -> None:
    """The messages are shown beside one choice of several; the other choices are not."""
    request = {"messages": [{"role": "user", "content": "x"}], "n": 2}
    asked, answered = fields("choices/0", request, choices(0, 1))
    assert asked == ["/messages/0/role", "/messages/0/content", "/n"]
    assert "/choices/1/text" not in answered


@pytest.mark.parametrize(
    ("item", "request_body", "response_body", "expected"),
    [
        ("data/1", {"input": ["a", "b"]}, {"data": [{"index": 1, "embedding": [1]}, {"index": 0, "e": 1}]},
         (["/input/1"], ["/data/0/index", "/data/0/embedding"])),
        ("data/0", {"input": "a"}, {"data": [{"index": 0, "embedding": [1]}]},
         (["/input"], ["/data/0/index", "/data/0/embedding"])),
        ("data/1", {"text_1": "q", "text_2": ["a", "b"]}, {"data": [{"index": 0}, {"index": 1}]},
         (["/text_1", "/text_2/1"], ["/data/1/index"])),
        ("results/1", {"query": "q", "documents": ["a", "b"]}, {"results": [{"index": 1}, {"index": 0}]},
         (["/query", "/documents/1"], ["/results/0/index"])),
        ("instances/1", {"instances": [[1], [2]]}, {"predictions": [{"p": 1}, {"p": 2}]},
         (["/instances/1"], ["/predictions/1/p"])),
        ("predictions/0", {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [3, 4]]}},
         {"predictions": [[1], [2]]},
         (["/dataframe_split/columns/0", "/dataframe_split/columns/1", "/dataframe_split/data/0"],
          ["/predictions/0"])),
        ("outputs/0/data/1",
         {"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [[1, 2], [3, 4]]}]},
         {"id": "7", "outputs": [{"name": "y", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]}]},
         (["/inputs/0/name", "/inputs/0/shape", "/inputs/0/datatype", "/inputs/0/data/1"],
          ["/id", "/outputs/0/name", "/outputs/0/shape", "/outputs/0/datatype", "/outputs/0/data/1"])),
    ],
)  # fmt: skip
def test_an_item_is_its_input_and_its_output(
    item: str, request_body: Any, response_body: Any, expected: tuple[list[str], list[str]]
) -> None:
    """Embeddings, scores, ranks, predictions and tensors: the same place or number on both sides."""
    assert fields(item, request_body, response_body) == expected


def test_without_fields_of_the_request_the_answer_alone_is_shown() -> None:
    """A request that has no fields hides nothing and shows nothing."""
    assert fields("choices/0", None, choices(0)) == ([], ["/id", "/choices/0/index", "/choices/0/text"])


@pytest.mark.parametrize(
    ("item", "request_body", "response_body"),
    [
        ("choices/2", {"prompt": ["a", "b"]}, choices(0, 1)),
        ("choices/0", {}, choices(0, 0)),
        ("choices/01", {}, choices(0, 1)),
        ("people/0", {}, choices(0)),
        ("predictions/0", {"instances": [[1]]}, {"predictions": [1, 2]}),
        ("outputs/0/data/0", {"inputs": []}, {"outputs": [{"shape": [2, 2], "data": [1, 2, 3, 4]}]}),
        ("outputs/0/data/0", {"inputs": []}, {"outputs": [{"shape": [2, 2], "data": ["1", "2", "3", "4"]}]}),
        ("choices/0", None, None),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_alone_is_refused(item: str, request_body: Any, response_body: Any) -> None:
    """No such item, two of one number, a name of another kind, or numbers that are one field together."""
    with pytest.raises(DisclosureError):
        fields(item, request_body, response_body)


def ranks(*indexes: Any) -> dict[str, Any]:
    """An answer with ranks; ... stands for none."""
    return {"results": [{"score": 1} if each is ... else {"index": each, "score": 1} for each in indexes]}


@pytest.mark.parametrize(
    ("item", "request_body", "response_body"),
    [
        *(("choices/1", {"prompt": ["ALICE", "BOB"], "n": n}, choices(0, 1, 2, 3))
          for n in (2.0, "2", None, 0, -2, True, [2], {}, 1)),
        ("choices/0", {"messages": [{"content": "x"}], "n": 2.0}, choices(0, 1)),
        ("choices/1", {"prompt": ["ALICE", "BOB"], "best_of": 4}, choices(0, 1, 2, 3)),
        ("choices/1", {"prompt": ["ALICE", "BOB"], "best_of": "2"}, choices(0, 1)),
        ("choices/1", {"prompt": ["ALICE", "BOB"]}, choices(0, 1, 2)),
        ("choices/0", {"prompt": ["ALICE", "BOB"]}, choices(0)),
        ("choices/1", {"prompt": ["ALICE", "BOB"]}, choices(1, 2)),
        ("choices/1", {"prompt": ["ALICE", "BOB"]}, {"choices": [{"text": "a"}, {"text": "b"}]}),
        ("choices/1", {"prompt": ["ALICE", "BOB"]}, None),
        ("choices/0", {"prompt": "ALICE", "prompt_embeds": ["x"]}, choices(0, 1)),
        ("choices/0", {"prompt": "ALICE", "messages": [{"content": "BOB"}]}, choices(0)),
        ("results/0", {"query": "q", "documents": ["ALICE", "BOB"]}, ranks(..., ...)),
        ("results/0", {"query": "q", "documents": ["ALICE", "BOB"]}, ranks(1.0, 0.0)),
        ("results/0", {"query": "q", "documents": ["ALICE", "BOB"]}, ranks("1", 0)),
        ("results/0", {"query": "q", "documents": ["ALICE", "BOB"]}, ranks(0, ...)),
        ("data/0", {"input": ["ALICE", "BOB"]}, {"data": [{"index": 1.0}, {"index": 0.0}]}),
        ("data/0", {"input": ["ALICE", "BOB"]}, {"data": [{"index": 0}, {"index": 1}, {"index": 2}]}),
        ("predictions/0", {"instances": [["ALICE"], ["BOB"]]}, {"predictions": [{"p": 1}]}),
    ],
)  # fmt: skip
def test_nobody_is_shown_another_persons_text_by_a_guess(
    item: str, request_body: Any, response_body: Any
) -> None:
    """Where the bodies do not say beyond doubt which input an answer is of, nothing is shown."""
    with pytest.raises(DisclosureError, match="item: expected"):
        fields(item, request_body, response_body)


@pytest.mark.parametrize("written", ["2.0", '"2"', "2e0", "null", "1e0"])
def test_a_number_of_choices_is_written_as_a_natural_number(written: str) -> None:
    """As bytes: what a server may take for 2 is refused in every other spelling."""
    request = f'{{"prompt":["ALICE","BOB"],"n":{written}}}'.encode()
    with pytest.raises(DisclosureError, match="natural number from 1"):
        item_fields("choices/1", request, json.dumps(choices(0, 1, 2, 3)).encode())


def test_of_a_single_prompt_the_request_alone_will_do() -> None:
    """Nobody else's prompt is there to be shown."""
    assert fields("choices/1", {"prompt": "a", "n": 2}, None) == (["/prompt", "/n"], [])
    with pytest.raises(DisclosureError, match="a choice below 2"):
        fields("choices/2", {"prompt": "a", "n": 2}, None)


def test_an_input_of_another_number_of_rows_is_not_shown() -> None:
    """Three rows in, two rows out: whose is whose is not known."""
    tensor = {"name": "x", "data": ["ALICE", "BOB", "EVE"]}
    assert fields("outputs/0/data/1", {"inputs": [tensor]}, {"outputs": [{"data": ["a", "b"]}]}) == (
        [],
        ["/outputs/0/data/1"],
    )


def test_a_body_cut_by_its_members_shows_no_item() -> None:
    """Over 1,024 fields all choices are one field: it names everybody, so it is not shown."""
    with pytest.raises(DisclosureError):
        fields("choices/0", {"prompt": ["a"]}, choices(*range(1000)))
