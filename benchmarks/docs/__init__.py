"""Measurements that pages of the documentation show."""
