"""Jobs that cannot be lost: proofs and costs."""
