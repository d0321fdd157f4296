"""The figures of the further audits, one file each."""
