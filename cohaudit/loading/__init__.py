"""From what the user names to tensors, a module and samples."""
