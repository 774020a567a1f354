"""Sweeps: many runs of one recipe in a folder, their record and table, one after the other or on Ray."""
