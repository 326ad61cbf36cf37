"""Items of a request that asks for several things at once: which fields are one person's (spec/commitment.md,
"Items").

    choices/3           choice 3 of a completion or chat; of prompts, number 3 // n
    data/17             vector or score 17, of input 17
    results/17          what was found of document 17
    predictions/17      prediction 17, of instance 17; the same as instances/17
    outputs/0/data/17   row 17 of a tensor, of row 17 of every input tensor

Pure functions of the leaves of both bodies, both attacker-controlled. Promises: of the other items no field
is named; where the fields cannot be cut so, an error says why. Must never: guess.
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

    def numbered(self, array: str, wanted: int) -> str | None:
        """Pointer of the object of an array whose `index` is that number; by place if none has an `index`."""
        places = self.places(array)
        numbers = {place: self.number(f"/{array}/{place}/index") for place in places}
        if all(number is None for number in numbers.values()):
            return f"/{array}/{wanted}" if wanted in numbers else None
        found = [place for place, number in numbers.items() if number == wanted]
        return f"/{array}/{found[0]}" if len(found) == 1 else None


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
        return ItemFields(_of_choice(asked, number), _one(answered.numbered("choices", number)))
    if array == "data":
        request = [*_at(asked, "input", number), *_pair(asked, number)]
        return ItemFields(request, _one(answered.numbered("data", number)))
    if array == "results":
        request = [*_at(asked, "documents", number), "/query"]
        return ItemFields(request, _one(answered.numbered("results", number)))
    request = [f"/{name}/{number}" for name in _INSTANCES]
    return ItemFields([*request, "/dataframe_split/columns"], [f"/predictions/{number}"])


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


def _of_choice(asked: _Leaves, number: int) -> list[str]:
    """Each prompt has n choices, in the order of the prompts; all choices of a chat answer its messages."""
    prompts = asked.places("prompt")
    if not prompts:
        return ["/prompt", "/messages"]
    return [f"/prompt/{number // (asked.number('/n') or 1)}"]


def _tensor_rows(asked: _Leaves, answered: _Leaves, output: str, row: int) -> ItemFields:
    """Row of an output tensor and of all inputs; each row must be a leaf of its own or a nested array."""
    request = []
    for place in asked.places("inputs"):
        request += _tensor_row(asked, f"inputs/{place}", row)
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
