"""Which of two fitted networks of the same data generalizes better."""
