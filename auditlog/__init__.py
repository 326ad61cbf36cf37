"""A transparent record of AI decisions. Importing this package costs nothing; import the part you need."""

__version__ = "0.1.0"
