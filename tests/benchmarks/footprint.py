"""Bytes a decision leaves behind: in the public log, in the SQL state and index, and in the disclosure store.

Real servers: the mortgage API of the demo behind the middleware, and the log service. The ceiling of each is
the bytes it cannot do without: the entry itself for the log and the index, both bodies for the store. What
that comes to in a day follows from their sum.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import httpx
from measure import Result, arguments, report

from auditlog.demo import cheats, loan_model
from auditlog.demo.customer import Answer, ask, collect_receipts, wait_until_recording
from auditlog.demo.operator import Operator
from auditlog.demo.processes import Servers

RATES = (10, 100, 1000)
"""Requests a second."""
_DAY_S = 86_400


def main() -> None:
    """Print bytes per decision with the ratio of what is needed to what is used."""
    options = arguments(__doc__ or "")
    decisions = 256 if options.quick else 4096
    with tempfile.TemporaryDirectory() as scratch:
        operator = Operator.at(Path(scratch) / "demo")
        operator.folder.mkdir()
        operator.prepare()
        answers = _decide(operator, decisions)
        report(_sizes(operator, answers), as_json=options.json)


def _decide(operator: Operator, decisions: int) -> list[Answer]:
    real = loan_model.held_out()
    with Servers(operator.home / "output") as servers, httpx.Client() as client:
        operator.witnesses.start(servers)
        operator.witnesses.wait(servers)
        operator.start_log(servers)
        loan_model.train(operator.loan_model)
        operator.start_loan_api(servers)
        servers.wait("log", f"http://127.0.0.1:{operator.log_port}/health")
        servers.wait("loan", f"http://127.0.0.1:{operator.loan_port}/health")
        url = f"http://127.0.0.1:{operator.loan_port}/decide"
        answers = [wait_until_recording(client, url, real[0])]
        answers += [ask(client, url, real[i % len(real)]) for i in range(1, decisions)]
        collect_receipts(client, answers[-1:], operator.folder / "receipts")
        return answers


def _sizes(operator: Operator, answers: list[Answer]) -> list[Result]:
    entries = cheats.read_entries(operator.public_log)
    entry_bytes = sum(map(len, entries)) / len(entries)
    bodies = sum(len(answer.request) + len(answer.response) for answer in answers) / len(answers)
    # Only complete tiles and bundles: partial ones of earlier sizes may be deleted at any time.
    full = [path for path in operator.public_log.rglob("*") if path.is_file() and ".p" not in str(path)]
    covered = len(entries) // 256 * 256
    log = sum(path.stat().st_size for path in full) / covered
    index = sum(path.stat().st_size for path in operator.home.glob("data/*.sqlite*")) / len(entries)
    store = sum(path.stat().st_size for path in operator.home.glob("loan-host/**/*.sqlite*")) / len(answers)
    rows = (
        ("public log, full tiles and bundles", log, entry_bytes, "the entry"),
        ("SQL state and index", index, entry_bytes, "the entry"),
        ("disclosure store", store, bodies, "request and response as sent"),
    )
    sizes = [
        Result(name, round(value, 1), "bytes/decision", *[round(needed / value, 3)] * 3, against=against)
        for name, value, needed, against in rows
    ]
    return [*sizes, *_days(log + index + store)]


def _days(size: float) -> list[Result]:
    """What so many bytes a decision come to in a day of so many requests a second."""
    return [
        Result(f"all three, {rate:,} requests/s", round(size * rate * _DAY_S / 1e9, 1), "GB/day")
        for rate in RATES
    ]


if __name__ == "__main__":
    main()
