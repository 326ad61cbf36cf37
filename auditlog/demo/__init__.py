"""The demonstration: real models on real input, an honest operator, and then a cheating one.

It stands on everything else and nothing stands on it. It uses the other packages only the way a user would:
the service and the model servers are separate processes reached over HTTP, the verifier is a separate
process that never sees the operator's database.
"""
