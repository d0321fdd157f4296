"""What several checkpoints of one training run show together."""
