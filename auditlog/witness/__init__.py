"""A witness: a third party's server that cosigns checkpoints it found consistent (C2SP tlog-witness).

Stands on `auditlog.core` only, so that whoever runs one installs nothing of a log's service.
"""
