"""One scan by many processes: shards that are merged, or the ranks of torch.distributed."""
