"""What a receipt's verdict costs, against the signatures it cannot do without; target: 1 ms, anchors apart.

Receipts have a quorum of two witnesses, three related entries and a head, in a log of a few thousand entries.
`alone` is the first receipt a verifier sees, with a verifier of its own; `in turn` are receipts of one log,
each of another decision, as an auditor has them: what they share (enrolment, start, model) is verified once.
The ceiling is as many raw Ed25519 verifications as one receipt holds signatures, and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from measure import Result, arguments, paired, ratio_result, report

sys.path.insert(0, str(Path(__file__).parents[2]))

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from auditlog.core.trust import Trust, parse_trust
from auditlog.verify.verifier import Verifier
from tests.support.receipts_factory import Factory

SIGNATURES = 3 + 1 + 1 + 1
"""Checkpoint and two cosignatures; producer, instance, head."""
ANCHOR_SIGNATURES = 2
"""The anchored checkpoint and its note."""
TARGET_MS = 1.0


def main() -> None:
    """Print verdicts a second."""
    options = arguments(__doc__ or "")
    decisions, pairs, rounds = (300, 9, 40) if options.quick else (3000, 21, 200)
    factory = Factory(decisions=decisions)
    places = factory.decisions[-2 - rounds : -2]
    receipts = [factory.receipt_bytes(place) for place in places]
    anchored = factory.receipt_bytes(places[0], anchored=[len(factory.entries)])
    trust = parse_trust(factory.trust_bytes(quorum=2, require=["quorum"]))
    verifier = Verifier(trust)
    for each in (*receipts, anchored):
        if (found := verifier.verify(each)).exit_code != 0:
            raise SystemExit(found.headline)

    def in_turn() -> None:
        for each in receipts:
            verifier.verify(each)

    results = [
        _measured("verify receipts of one log, in turn", in_turn, SIGNATURES, len(receipts), pairs),
        _measured(
            "verify a receipt offline, alone", _alone(trust, receipts[0], rounds), SIGNATURES, rounds, pairs
        ),
        _measured(
            "verify one with a devnet anchor, alone",
            _alone(trust, anchored, rounds),
            SIGNATURES + ANCHOR_SIGNATURES,
            rounds,
            pairs,
            has_target=False,
        ),
    ]
    report(results, as_json=options.json)


def _alone(trust: Trust, receipt: bytes, rounds: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(rounds):
            Verifier(trust).verify(receipt)

    return run


def _measured(
    name: str,
    ours: Callable[[], None],
    signatures: int,
    rounds: int,
    pairs: int,
    *,
    has_target: bool = True,
) -> Result:
    """CPU time, with the ratio to the raw signatures of the same run; a target is met by the bad end."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    message = b"x" * 200
    signature, public = key.sign(message), key.public_key()

    def ceiling() -> None:
        for _ in range(rounds * signatures):
            public.verify(signature, message)

    seconds, ceiling_s = paired(ours, ceiling, pairs=pairs)
    against = f"{signatures} raw Ed25519 verifications"
    found = ratio_result(name, seconds, ceiling_s, operations=rounds, unit="receipts/s", against=against)
    ordered = sorted(seconds)
    low, high = (1000 * ordered[at] / rounds for at in (len(ordered) // 10, -1 - len(ordered) // 10))
    shown = replace(found, against=f"{against}; {low:.2f} to {high:.2f} ms a receipt")
    if not has_target:
        return shown
    return replace(shown, target=f"{TARGET_MS:.0f} ms a receipt", met=high <= TARGET_MS)


if __name__ == "__main__":
    main()
