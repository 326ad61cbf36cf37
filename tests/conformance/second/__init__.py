"""A verifier of receipts written from the specification pages alone; it imports nothing of the product."""
