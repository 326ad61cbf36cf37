"""`python -m auditlog COMMAND`: the command `auditlog`, where its script is not on the path."""

from __future__ import annotations

from auditlog.cli.main import main

if __name__ == "__main__":  # a second process of the command imports this module under another name
    main()
