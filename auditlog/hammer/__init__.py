"""`auditlog hammer`: load on a running log from outside, with readers that check its proofs all the while.

Stands on `core` and `verify`: it knows the log as any stranger does, by its HTTP interface (spec/api.md).
"""
