"""Items of a request that asks for several things at once: which fields are one person's (spec/commitment.md,
"Items").

    choices/3           choice 3 of a completion or chat; of prompts, number 3 // n
    data/17             vector or score 17, of input 17
    results/17          what was found of document 17
    predictions/17      prediction 17, of instance 17; the same as instances/17
    outputs/0/data/17   row 17 of a tensor, of row 17 of every input tensor

Pure functions of the leaves of both bodies, both attacker-controlled. Promises: of the other items no field
is named; where the fields cannot be cut so, or whose they are does not follow from both bodies, an error says
why. Must never: guess. A wrong guess shows one person the prompt of another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from auditlog.core.commitment import field_leaves
from auditlog.errors import DisclosureError

_ITEM = re.compile(r"(choices|data|results|instances|predictions)/(0|[1-9][0-9]{0,8})")
_ROW = re.compile(r"outputs/(0|[1-9][0-9]{0,8})/data/(0|[1-9][0-9]{0,8})")
_FIRST = re.compile(rb"\[[ \t\n\r]*(0|[1-9][0-9]{0,8})[ \t\n\r]*[,\]]")
_NUMBER = re.compile(rb"0|[1-9][0-9]{0,8}")

SHARED_REQUEST = ("model", "n")
SHARED_RESPONSE = ("id", "object", "created", "model", "model_name", "model_version")
"""Members that say nothing about anybody: shown beside every item, where they are one leaf."""

_INSTANCES = ("instances", "inputs", "dataframe_records", "dataframe_split/data")
_TENSOR = ("name", "shape", "datatype")


@dataclass(frozen=True, slots=True)
class ItemFields:
    """Pointers of the leaves that one item is made of, in document order."""

    request: list[str] = field(default_factory=list)
    response: list[str] = field(default_factory=list)


def item_fields(item: str, request: bytes | None, response: bytes | None) -> ItemFields:
    """Return the fields of an item. `request` and `response` are the texts whose leaves are committed to;
    None where a body has none or is not at hand.

    Raises:
        DisclosureError: not the name of an item, no such item, or fields too coarse to show it alone.
    """
    asked, answered = _Leaves(request), _Leaves(response)
    row = _ROW.fullmatch(item)
    if row is not None:
        wanted = _tensor_rows(asked, answered, row[1], int(row[2]))
    else:
        named = _ITEM.fullmatch(item)
        if named is None:
            raise DisclosureError(
                "item: expected choices/N, data/N, results/N, instances/N, predictions/N or "
                "outputs/N/data/N, found another name"
            )
        wanted = _members(named[1], asked, answered, int(named[2]))
    found = ItemFields(asked.below(wanted.request), answered.below(wanted.response))
    if (answered and not found.response) or not (found.response or found.request):
        raise DisclosureError(
            f"item: expected {item} as fields of its own, found none; an array of numbers is one field, "
            "and a body of over 1,024 fields is cut by its outermost members only"
        )
    return ItemFields(
        asked.below([*_shared(SHARED_REQUEST, asked), *wanted.request]),
        answered.below([*_shared(SHARED_RESPONSE, answered), *wanted.response]),
    )


def item_names(item: str, request: bytes | None, response: bytes | None) -> list[str]:
    """The fields of an item by name, `body:pointer`, as disclosures are asked for. Arguments and errors as
    `item_fields`.
    """
    found = item_fields(item, request, response)
    return [f"request:{at}" for at in found.request] + [f"response:{at}" for at in found.response]


class _Leaves:
    """The leaves of one body by pointer; empty where there are none."""

    def __init__(self, text: bytes | None) -> None:
        self._values: Mapping[str, bytes] = {} if text is None else dict(field_leaves(text))

    def __bool__(self) -> bool:
        return bool(self._values)

    def __contains__(self, pointer: str) -> bool:
        return pointer in self._values

    def below(self, pointers: Iterable[str]) -> list[str]:
        """The leaves at or below any of these pointers."""
        wanted = set(pointers)
        return [leaf for leaf in self._values if any(at in wanted for at in _and_above(leaf))]

    def number(self, pointer: str) -> int | None:
        """The natural number that is the value of a leaf, or None."""
        value = self._values.get(pointer, b"")
        return int(value) if _NUMBER.fullmatch(value) else None

    def first(self, pointer: str) -> int | None:
        """The first number, a natural one, of an array of numbers, or None."""
        found = _FIRST.match(self._values.get(pointer, b""))
        return int(found[1]) if found is not None else None

    def places(self, array: str) -> list[int]:
        """The places of an array that have leaves, in ascending order; [] if it is one leaf or none."""
        prefix, found = f"/{array}/", set()
        for leaf in self._values:
            if leaf.startswith(prefix):
                token = leaf[len(prefix) :].partition("/")[0]
                if not token.isascii() or not token.isdigit():
                    return []
                found.add(int(token))
        return sorted(found)

    def has(self, pointer: str) -> bool:
        """Whether there is a value of any kind at a pointer."""
        return any(leaf == pointer or leaf.startswith(f"{pointer}/") for leaf in self._values)

    def counted(self, name: str) -> int | None:
        """A member that says how many, None if absent.

        Raises:
            DisclosureError: it is anything but a natural number from 1. Servers take `2.0` and `"2"` for 2,
                others do not: which it was, the bodies do not say.
        """
        if not self.has(f"/{name}"):
            return None
        number = self.number(f"/{name}")
        if not number:
            raise DisclosureError(f"item: expected {name} as a natural number from 1, found another value")
        return number

    def numbered(self, array: str, wanted: int, *, by_place: bool = False) -> str | None:
        """Pointer of the object of an array whose `index` is that number; with `by_place` the one at that
        place, if none of them has an `index` of any kind.

        Raises:
            DisclosureError: which one is meant does not follow from the `index` of each.
        """
        numbers = self.indexes(array)
        if by_place and not any(self.has(f"/{array}/{place}/index") for place in numbers):
            return f"/{array}/{wanted}" if wanted in numbers else None
        if None in numbers.values() or len(set(numbers.values())) != len(numbers):
            raise DisclosureError(
                f"item: expected in each element of {array} a natural index of its own, found others"
            )
        found = [place for place, number in numbers.items() if number == wanted]
        return f"/{array}/{found[0]}" if found else None

    def indexes(self, array: str) -> dict[int, int | None]:
        """The `index` of each place of an array; None where it is no natural number."""
        return {place: self.number(f"/{array}/{place}/index") for place in self.places(array)}


def _and_above(pointer: str) -> Iterable[str]:
    """A pointer and those of the containers around it."""
    while pointer:
        yield pointer
        pointer = pointer.rpartition("/")[0]


def _shared(names: tuple[str, ...], leaves: _Leaves) -> list[str]:
    return [f"/{name}" for name in names if f"/{name}" in leaves]


def _members(array: str, asked: _Leaves, answered: _Leaves, number: int) -> ItemFields:
    """What is wanted of both bodies, by the member the item is named after."""
    if array == "choices":
        return ItemFields(_of_choice(asked, answered, number), _one(answered.numbered("choices", number)))
    if array == "data":
        request = [*_at(asked, "input", number), *_pair(asked, number)]
        _match(asked, ("input", "text_1", "text_2"), answered, "data")
        return ItemFields(request, _one(answered.numbered("data", number, by_place=True)))
    if array == "results":
        # Ranks are sorted by score: a place says nothing about whose document it was.
        request = [*_at(asked, "documents", number), "/query"]
        return ItemFields(request, _one(answered.numbered("results", number)))
    _match(asked, _INSTANCES, answered, "predictions")
    request = [f"/{name}/{number}" for name in _INSTANCES]
    return ItemFields([*request, "/dataframe_split/columns"], [f"/predictions/{number}"])


def _match(asked: _Leaves, inputs: tuple[str, ...], answered: _Leaves, output: str) -> None:
    """Raises DisclosureError if several inputs have another number of answers: whose is whose?"""
    answers = len(answered.places(output))
    for name in inputs:
        found = len(asked.places(name))
        if found > 1 and answers and found != answers:
            raise DisclosureError(f"item: expected {found} of {output}, as of {name}, found {answers}")


def _one(pointer: str | None) -> list[str]:
    return [] if pointer is None else [pointer]


def _at(asked: _Leaves, array: str, number: int) -> list[str]:
    """An element of an array; where there is a single input instead of an array, number 0 is that one."""
    if asked.places(array):
        return [f"/{array}/{number}"]
    return [f"/{array}"] if number == 0 else []


def _pair(asked: _Leaves, number: int) -> list[str]:
    """The two texts a score is of: one of them may be the same for all."""
    wanted = []
    for name in ("text_1", "text_2"):
        places = asked.places(name)
        wanted.append(f"/{name}/{number}" if len(places) > 1 else f"/{name}")
    return wanted


def _of_choice(asked: _Leaves, answered: _Leaves, number: int) -> list[str]:
    """Each prompt has n choices, in the order of the prompts; all choices of a chat answer its messages.

    Raises:
        DisclosureError: the bodies do not say, beyond doubt, which prompt it was.
    """
    n = asked.counted("n") or 1
    asked.counted("best_of")
    if not asked.has("/prompt"):
        return ["/messages"]
    if asked.has("/messages"):
        raise DisclosureError("item: expected a prompt or messages, found both")
    prompts = asked.places("prompt")
    total = max(1, len(prompts)) * n
    indexes = answered.indexes("choices")
    is_one = len(prompts) < 2 and not asked.has("/prompt_embeds")
    if not (is_one and not answered) and sorted(
        -1 if each is None else each for each in indexes.values()
    ) != [*range(total)]:
        raise DisclosureError(
            f"item: expected the choices 0 to {total - 1} of {max(1, len(prompts))} prompt(s) with n {n}, "
            f"found {len(indexes)} choice(s) or other numbers"
        )
    if number >= total:
        raise DisclosureError(f"item: expected a choice below {total}, found {number}")
    return [f"/prompt/{number // n}"] if prompts else ["/prompt"]


def _tensor_rows(asked: _Leaves, answered: _Leaves, output: str, row: int) -> ItemFields:
    """Row of an output tensor and of all inputs of as many rows; each row must be a leaf of its own or a
    nested array. An input of another number of rows is not shown: whose its rows are is not known.
    """
    request, rows = [], len(answered.places(f"outputs/{output}/data"))
    for place in asked.places("inputs"):
        wanted = _tensor_row(asked, f"inputs/{place}", row)
        if rows in (0, len(asked.places(f"inputs/{place}/data"))):
            request += wanted
    return ItemFields(request, _tensor_row(answered, f"outputs/{output}", row))


def _tensor_row(leaves: _Leaves, tensor: str, row: int) -> list[str]:
    if f"/{tensor}/data" in leaves:
        raise DisclosureError(
            f"item: expected {tensor} as rows of their own, found one flat array of numbers, "
            "which is a single field: no row of it can be shown alone"
        )
    places = leaves.places(f"{tensor}/data")
    if row not in places:
        return []
    if leaves.first(f"/{tensor}/shape") not in (None, len(places)):
        raise DisclosureError(f"item: expected one element of {tensor} a row, found a flat array of several")
    return [f"/{tensor}/data/{row}", *(f"/{tensor}/{name}" for name in _TENSOR)]
