"""`auditlog verify FILE... --trust FILE`: check receipts and evidence, offline unless `--log` names the log.

Spec: auditlog/spec/verification.md, "Exit codes" and "JSON report"; auditlog/spec/evidence.md, "Checking".
Promises: every file gets a verdict or one line saying why it could not be read; nothing heavier than the
verifier is imported.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditlog.cli.output import say_error, say_json, say_note
from auditlog.cli.reading import (
    MAX_DISCLOSURES_BYTES,
    MAX_ENTRY_BYTES,
    MAX_TRUST_BYTES,
    read_bounded,
    read_text_line,
)
from auditlog.errors import ConfigurationError, MalformedError

if TYPE_CHECKING:
    from auditlog.core.trust import Trust
    from auditlog.verify.comparison import CurrentLog
    from auditlog.verify.evidence_report import EvidenceReport
    from auditlog.verify.expectations import Expectation
    from auditlog.verify.report import Report

VERDICT_VERSION = "auditlog/verify@v1"
_FAILED = 1
_USAGE = 2
_KINDS = ("receipts", "evidence")
_ONLY_PROOFS = (
    "expected --entry beside a bare proof (tlog-proof or COSE), and only there, found otherwise: {}"
)
_ONLY_RECEIPTS = "expected receipts beside --expect, --log or --disclosures, found evidence in {}"
_LOG_BUDGET_S = 120.0  # seconds for all that one call reads of the current log


def verify(
    receipts: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Receipts, or evidence files; - is standard input."),
    ],
    *,
    trust: Annotated[Path, typer.Option("--trust", metavar="FILE", help="Your trust file.")],
    log: Annotated[
        str | None, typer.Option("--log", metavar="TARGET", help="Folder or URL of the log as it is now.")
    ] = None,
    disclosures: Annotated[
        Path | None, typer.Option("--disclosures", metavar="FILE", help="Values shown beside the receipt.")
    ] = None,
    entry: Annotated[
        Path | None,
        typer.Option("--entry", metavar="FILE", help="Entry of a bare proof: tlog-proof or COSE."),
    ] = None,
    expect: Annotated[
        list[str] | None, typer.Option("--expect", metavar="KEY=VALUE", help="Insist on a fact; repeatable.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", metavar="FILE", help="Token for reading the log at --log.")
    ] = None,
    evidence: Annotated[
        Path | None, typer.Option("--evidence", metavar="DIR", help="Write contradicting checkpoints here.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Check receipts, or evidence that something is wrong with a log.

    Exit 0 verified (evidence: it proves what it says), 1 failed, 2 usage, 3 not everything could be checked.
    """
    session = _Session(
        trust,
        log=log,
        disclosures=disclosures,
        entry=entry,
        expect=expect or [],
        token_file=token_file,
        count=len(receipts),
    )
    verdicts = session.check_all(receipts)
    code, unused = _combined(verdicts), session.unused_disclosures()
    if unused:
        code = _FAILED
    if evidence is not None:
        _write_evidence(verdicts, evidence)
    if json:
        shown: dict[str, object] = {"v": VERDICT_VERSION, "exit_code": code}
        say_json(shown | {"error": unused} | _as_json(verdicts))
    else:
        _print(verdicts)
    if unused:
        say_error(unused)
    raise typer.Exit(code)


def no_verdict(code: int, error: str) -> dict[str, object]:
    """The JSON of a call that ended before any receipt was checked."""
    return {"v": VERDICT_VERSION, "exit_code": code, "error": error, "receipts": [], "evidence": []}


def _as_json(verdicts: list[_Verdict]) -> dict[str, object]:
    told = {name: [item.to_json() for item in verdicts if item.kind == name] for name in _KINDS}
    return dict(told)


class _Verdict:
    """One file and what came of it: a report on a receipt, one on evidence, or why it could not be read."""

    def __init__(
        self, path: Path, report: Report | None, error: str = "", *, told: EvidenceReport | None = None
    ) -> None:
        self.path = path
        self.report = report
        self.error = error
        self.told = told

    @property
    def kind(self) -> str:
        return "receipts" if self.told is None else "evidence"

    @property
    def exit_code(self) -> int | None:
        """None for a file that could not be read."""
        found = self.told or self.report
        return None if found is None else found.exit_code

    def to_json(self) -> dict[str, object]:
        found = self.told or self.report
        if found is None:
            return {"file": str(self.path), "exit_code": _USAGE, "error": self.error}
        return {"file": str(self.path), **found.to_json()}


class _Session:
    """Everything that is the same for all receipts of one call: trust, expectations, the current log."""

    def __init__(
        self,
        trust: Path,
        *,
        log: str | None,
        disclosures: Path | None,
        entry: Path | None,
        expect: list[str],
        token_file: Path | None,
        count: int,
    ) -> None:
        from auditlog.verify.expectation_text import parse_expectations
        from auditlog.verify.forks import Forks
        from auditlog.verify.verifier import Verifier

        if entry is not None and count > 1:
            raise ConfigurationError(f"expected one bare proof beside --entry, found {count} files")
        self._count = count
        self._entry = None if entry is None else read_bounded(entry, MAX_ENTRY_BYTES, "--entry")
        self._is_used = False
        believed = read_trust(trust)
        self._verifier, self._forks, self._trust = Verifier(believed), Forks(believed), believed
        self._is_about_receipts = bool(expect or log or disclosures)
        self._expect: Expectation | None = parse_expectations(expect)
        self._disclosures = (
            None if disclosures is None else read_bounded(disclosures, MAX_DISCLOSURES_BYTES, "--disclosures")
        )
        self._log = None if log is None else _current_log(log, token_file)

    def check_all(self, paths: list[Path]) -> list[_Verdict]:
        """Check each receipt, and then all of them against each other."""
        from auditlog.verify.forks import convict

        verdicts = [self._check(number, path) for number, path in enumerate(paths)]
        for number, error in self._forks.found().items():
            verdict = verdicts[number]
            if verdict.report is not None:
                verdict.report = convict(verdict.report, error)
        return verdicts

    def _check(self, number: int, path: Path) -> _Verdict:
        from auditlog.verify.evidence_check import check_evidence, is_evidence
        from auditlog.verify.evidence_parts import MAX_EVIDENCE_BYTES
        from auditlog.verify.presented import is_bare_proof

        try:
            data = read_bounded(path, MAX_EVIDENCE_BYTES, "a receipt or evidence")
        except ConfigurationError as error:
            return _Verdict(path, None, str(error))
        if is_evidence(data):
            if self._is_about_receipts:
                return _Verdict(path, None, _ONLY_RECEIPTS.format(path))
            return _Verdict(path, None, told=check_evidence(data, self._trust))
        if is_bare_proof(data) != (self._entry is not None):
            return _Verdict(path, None, _ONLY_PROOFS.format(path))
        report = self._report(data)
        if self._count > 1:  # a receipt that contradicts itself has failed by itself
            self._forks.take(number, data)
        return _Verdict(path, report)

    def _report(self, data: bytes) -> Report:
        """The verdict on a receipt, or on a bare proof of the entry given beside it."""
        if self._entry is None:
            shown = self._shown_of(data)
            return self._verifier.verify(data, expect=self._expect, disclosures=shown, log=self._log)
        self._is_used = True
        return self._verifier.verify_proof(
            data, self._entry, expect=self._expect, disclosures=self._disclosures, log=self._log
        )

    def _shown_of(self, receipt: bytes) -> bytes | None:
        """The disclosure file, unless it is about another of several receipts."""
        from auditlog.verify.disclosed import is_about

        if self._disclosures is None or self._count == 1 or is_about(self._disclosures, receipt):
            self._is_used = True
            return self._disclosures
        return None

    def unused_disclosures(self) -> str:
        """Why the call fails although no receipt did: values were shown that belong to none of them."""
        if self._disclosures is None or self._is_used:
            return ""
        return (
            "expected --disclosures about one of these receipts, found another decision or no disclosure file"
        )


def read_trust(path: Path) -> Trust:
    """Read and parse a trust file.

    Raises:
        ConfigurationError: it cannot be read, or is not a trust file.
    """
    from auditlog.core.trust import parse_trust

    data = read_bounded(path, MAX_TRUST_BYTES, "--trust")
    if len(data) > MAX_TRUST_BYTES:
        raise ConfigurationError(
            f"expected a trust file of at most {MAX_TRUST_BYTES} bytes, found more in {path}"
        )
    try:
        return parse_trust(data)
    except MalformedError as error:
        raise ConfigurationError(f"{path} is not a trust file: {error}") from error


def _current_log(target: str, token_file: Path | None) -> CurrentLog:
    from auditlog.verify.comparison import CurrentLog
    from auditlog.verify.sources import open_source

    token = None if token_file is None else read_text_line(token_file, "--token-file")
    return CurrentLog(open_source(target, token, budget_s=_LOG_BUDGET_S))


def _combined(verdicts: list[_Verdict]) -> int:
    from auditlog.verify.report import EXIT_FAILED, combine_exit_codes

    found = [item.exit_code for item in verdicts]
    code = combine_exit_codes([each for each in found if each is not None])
    if code != EXIT_FAILED and None in found:
        return _USAGE
    return code


def _print(verdicts: list[_Verdict]) -> None:
    from auditlog.verify.promise_render import render_evidence
    from auditlog.verify.render import render_report, render_summary

    for item in verdicts:
        if item.exit_code is None:
            say_error(item.error)
        if item.told is not None:
            render_evidence(str(item.path), item.told)
    reports = [(str(item.path), item.report) for item in verdicts if item.report is not None]
    if len(verdicts) == 1:
        for name, report in reports:
            render_report(name, report)
    elif reports:
        render_summary(reports)


def _write_evidence(verdicts: list[_Verdict], folder: Path) -> None:
    """Keep the two signed notes of a contradiction: they are the proof, whatever the log shows tomorrow."""
    from auditlog.core.merkle import hash_leaf

    for item in verdicts:
        found = None if item.report is None else item.report.evidence
        if found is None:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        for note in filter(None, (found.smaller, found.larger)):
            # Named by content: the same contradiction found twice is one pair of files.
            path = folder / f"{hash_leaf(note.encode('utf-8')).hex()[:16]}.checkpoint"
            path.write_text(note, encoding="utf-8")
            say_note(f"evidence: {path}")
