"""Generators on the Hugging Face Hub: publish that of a run, and load one without running its code."""

from typing import TYPE_CHECKING

from steadygan._lazy import lazy

if TYPE_CHECKING:
    from steadygan.runs.hub.client import check_name, is_name, name_in
    from steadygan.runs.hub.publish import push
    from steadygan.runs.hub.published import is_published, pulled, read

__all__ = ["check_name", "is_name", "is_published", "name_in", "pulled", "push", "read"]

__getattr__, __dir__ = lazy(__name__)
