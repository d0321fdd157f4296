"""The summaries that the commands print on a terminal."""
