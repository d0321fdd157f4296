"""Other label cleaners, what cleaning is worth, and what else is said of single samples."""
