"""Transports: one module for each scheme behind one protocol."""
