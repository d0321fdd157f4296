"""The further audits, one file each; `registry` says which of them run."""
