"""What is checked before a pass over the data, and the certificate after it."""
