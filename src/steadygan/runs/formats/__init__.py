"""The formats in which a generator is exported, and the process that runs an exported file."""
