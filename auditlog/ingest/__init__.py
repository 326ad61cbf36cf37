"""Distributed ingest: replicas publish batches to a broker, one elected sequencer commits them.

Spec: auditlog/spec/api.md, "Several processes"; design section 6. Everything behind the pool is the same code
as in one process (`Log.submit`). Must never: be what an acknowledgement rests on; that is the commit alone.
"""
