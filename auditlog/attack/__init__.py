"""The attack suite: cheating operators, producers and thieves, against copies of a log. See README.md here.

Stands on core, verify and witness, which never import it. Promises: the target is read, never written.
"""
