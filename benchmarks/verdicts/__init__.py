"""Which labels are wrong, on data that no constant was chosen on."""
