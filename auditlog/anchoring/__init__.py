"""Putting published checkpoints on a chain: the ledger port, an in-process devnet, JSON-RPC, the scheduler.

Design: section 5 (Anchor) and section 6. The contract and why it is so:
spec/decisions/0003-anchor-registry.md. Nothing here loads web3 or an EVM at import; each is met inside
the function that needs it.
"""
