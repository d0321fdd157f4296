"""The figures of the optional audits, one file each."""
