"""What the measuring pass costs, and how short its sketches may be."""
