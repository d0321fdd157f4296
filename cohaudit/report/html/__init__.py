"""The report and the difference of two audits as one HTML page each."""
