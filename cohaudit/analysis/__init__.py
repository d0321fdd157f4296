"""Pure mathematics: arrays in, numbers out. No model, no files."""
