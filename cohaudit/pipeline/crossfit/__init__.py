"""The network trained again on parts of the data: each sample is predicted by one that never saw it."""
