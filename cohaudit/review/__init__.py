"""What is done with a finished audit: gates, differences, exports, corrections, suppressions."""
