"""Recipes: configurations with their source, a YAML file each in a folder for each source, and their catalogue."""
