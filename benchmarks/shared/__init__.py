"""What several benchmarks use: data sets, networks, measuring, the command line, the files of results."""
