"""The summaries that the commands print."""
