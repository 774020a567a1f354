"""How often the diagnosis is right: docs/doctor.md."""
