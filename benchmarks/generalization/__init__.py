"""How well the gap to new data is predicted, on a zoo of networks whose gap is known."""
