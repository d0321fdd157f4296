"""`cohaudit doctor`: every part of a scan tried in turn, and nothing written."""
