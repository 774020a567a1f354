"""How many of 1,000 modes each game covers: docs/games.md."""
