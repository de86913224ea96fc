"""Readers of other programs' picture metadata, one file a format. `detect.py` chooses."""
