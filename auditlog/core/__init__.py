"""The formats: what every other part agrees on. Pure: no clock, randomness, files, sockets, async or logging.

Spec: the pages of `auditlog/spec/`. Stands on the standard library and
cryptography alone (plus Keccak in anchor evidence), so that a verifier can
trust a small thing. Import the module you need; this one imports nothing.
"""
