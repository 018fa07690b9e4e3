"""Comparison: the same requests to two apps, and the differences between what they answer."""
