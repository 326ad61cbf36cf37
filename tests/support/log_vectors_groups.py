"""Vectors of policies whose groups hold groups: when they are met, and whether two quorums could part."""

from __future__ import annotations

from collections.abc import Iterator

from auditlog.core.checkpoint import Checkpoint, format_checkpoint
from auditlog.core.cosignature import CosignatureSigner
from auditlog.core.merkle import root_hash
from auditlog.core.note import Signature, format_signature, sign_note
from tests.support.log_vectors_common import LEAVES, LOG, TIME, Vector, accepted

SIGNERS = [
    CosignatureSigner.from_seed(f"witness.example/{name}", bytes(range(10 + number, 42 + number)))
    for number, name in enumerate(("eu-a", "eu-b", "eu-c", "us-a", "us-b"))
]
NAMES = [each.name.partition("/")[2] for each in SIGNERS]
BASE = f"log {LOG.vkey}\n" + "".join(
    f"witness {name} {each.vkey}\n" for name, each in zip(NAMES, SIGNERS, strict=True)
)
NESTED = "group eu 2 eu-a eu-b eu-c\ngroup us any us-a us-b\ngroup both all eu us\nquorum both\n"
DEEP = (
    "group pair all us-a us-b\ngroup inner 2 eu-a eu-b pair\ngroup middle any inner\n"
    "group outer 2 middle eu-c\nquorum outer\n"
)
PARTING = (
    ("one-witness", "quorum eu-a\n", False),
    ("none", "quorum none\n", False),
    ("one-of-two", "group g any eu-a eu-b\nquorum g\n", True),
    ("two-of-three", "group g 2 eu-a eu-b eu-c\nquorum g\n", False),
    ("two-of-four", "group g 2 eu-a eu-b eu-c us-a\nquorum g\n", True),
    (
        "all-of-parting-groups",
        "group g any eu-a eu-b\ngroup h any us-a us-b\ngroup a all g h\nquorum a\n",
        True,
    ),
    ("one-group-holds-together", NESTED, False),
    ("parting-group-beside-a-witness", "group g any eu-a eu-b\ngroup a all g us-a\nquorum a\n", False),
    ("two-of-three-one-parts", "group g any eu-a eu-b\ngroup a 2 g us-a us-b\nquorum a\n", True),
    ("only-outside-the-quorum", "group g any eu-a eu-b\ngroup a all us-a us-b\nquorum a\n", False),
)


def groups() -> Iterator[tuple[str, Vector]]:
    """Every one."""
    text = format_checkpoint(Checkpoint(LOG.name, 300, root_hash(LEAVES)))
    for name, what, policy, who, satisfied in (
        ("nested-met", "Two of three and one of two.", NESTED, (0, 2, 4), True),
        ("nested-all-of-one-group", "Three of three, and none of the other group.", NESTED, (0, 1, 2), False),
        ("nested-too-few-of-one-group", "One of three, and both others.", NESTED, (1, 3, 4), False),
        ("deep-met", "A group counts as one member, three levels up.", DEEP, (0, 2, 3, 4), True),
        ("deep-half-a-pair", "Half of a pair is none of it.", DEEP, (0, 2, 3), False),
        ("deep-without-the-witness-beside", "The groups alone are not enough.", DEEP, (0, 1, 3, 4), False),
    ):
        note = sign_note(text, [LOG]) + "".join(SIGNERS[one].sign(text, TIME + one) for one in who)
        cosigners = [[NAMES[one], TIME + one] for one in who]
        value = {"satisfied": satisfied, "is_none": False, "cosigners": cosigners}
        yield f"quorum-{name}", accepted(what, "check_quorum", value, policy=BASE + policy, note=note)
    large = format_signature(Signature("witness.example/pq", b"\x06pq!", bytes(8 + 2420)))
    note = sign_note(text, [LOG]) + SIGNERS[0].sign(text, TIME) + large
    value = {"satisfied": True, "is_none": False, "cosigners": [[NAMES[0], TIME]]}
    yield (
        "quorum-beside-an-unknown-large-line",
        accepted(
            "A line in the form of ML-DSA-44, by a key that the policy lacks, is ignored.",
            "check_quorum", value, policy=f"{BASE}quorum eu-a\n", note=note,
        ),
    )  # fmt: skip
    for name, policy, parts in PARTING:
        what = f"Two quorums {'may' if parts else 'cannot'} have no witness in common."
        yield f"parting-{name}", accepted(what, "can_part", parts, policy=BASE + policy)
