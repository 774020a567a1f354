"""What a compiled step costs by its size: figures, and a part of docs/speed.md."""
