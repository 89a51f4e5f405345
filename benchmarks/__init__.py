"""Measurements of speed against rivals; nothing here is needed to train."""
