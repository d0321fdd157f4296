"""The optional audits, each in a file of its own; `registry` says which of them run."""
