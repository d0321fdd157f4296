"""Which labels are wrong: cohaudit beside label cleaners, and what its list of suspects is worth."""
