"""One receipt's verdict, against the signatures it cannot do without.

The receipt has a quorum of two witnesses, three related entries, a head and a devnet anchor, in a log of a
few thousand entries; the ceiling is as many raw Ed25519 verifications as it holds signatures, nothing else.
"""

from __future__ import annotations

import sys
from pathlib import Path

from measure import arguments, paired, ratio_result, report

sys.path.insert(0, str(Path(__file__).parents[2]))

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from auditlog.core.trust import parse_trust
from auditlog.verify.verifier import Verifier
from tests.support.receipts_factory import Factory

SIGNATURES = 3 + 2 + 1 + 1 + 1 + 1
"""Checkpoint and two cosignatures; the anchored checkpoint and its note; producer, instance, head, anchor."""


def main() -> None:
    """Print verdicts a second."""
    options = arguments(__doc__ or "")
    decisions, pairs, rounds = (300, 7, 40) if options.quick else (3000, 15, 200)
    factory = Factory(decisions=decisions)
    size = len(factory.entries)
    receipt = factory.receipt_bytes(factory.decisions[-2], anchored=[size])
    trust = factory.trust_bytes(quorum=2, require=["quorum", "devnet"])
    verifier = Verifier(parse_trust(trust))
    report_of_one = verifier.verify(receipt)
    if report_of_one.exit_code != 0:
        raise SystemExit(report_of_one.headline)
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    message = b"x" * 200
    signature, public = key.sign(message), key.public_key()

    def ours() -> None:
        for _ in range(rounds):
            verifier.verify(receipt)

    def ceiling() -> None:
        for _ in range(rounds * SIGNATURES):
            public.verify(signature, message)

    seconds, ceiling_s = paired(ours, ceiling, pairs=pairs)
    against = f"{SIGNATURES} raw Ed25519 verifications"
    report(
        [
            ratio_result(
                "verify a receipt offline",
                seconds,
                ceiling_s,
                operations=rounds,
                unit="receipts/s",
                against=against,
            )
        ],
        as_json=options.json,
    )


if __name__ == "__main__":
    main()
