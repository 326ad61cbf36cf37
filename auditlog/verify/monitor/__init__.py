"""The monitor: follows logs for months, keeps what it saw, and raises an alarm once for each thing wrong.

Spec: auditlog/spec/monitor.md. One rule has one home: entries are judged by `auditlog.verify.chains` and
`auditlog.verify.completeness_lives`, trees by `auditlog.verify.tlogclient`, promises by
`auditlog.verify.promise_verdict`; here they are made to go on for ever.
"""
