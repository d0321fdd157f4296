"""Pure mathematics: arrays in, numbers out. Nothing here loads a model or touches a file."""
