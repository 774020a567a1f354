"""How scores respond to known damage: docs/scores.md."""
