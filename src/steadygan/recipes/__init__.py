"""Recipes: configurations with their source, one YAML file each, and the catalogue that finds them."""
