"""The Hub through huggingface_hub: its names, and its errors as sentences."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from steadygan.errors import UsageError, said

__all__ = ["check_hub", "check_name", "check_token", "hub_errors", "is_name", "name_in"]

PART = r"[A-Za-z0-9](?:\w|-(?!-)|\.(?!\.))*"
"""A user's or a repository's name: ASCII letters, digits, `_`, and single `-` and `.`."""


def is_name(text: str) -> bool:
    """Whether this may be the name of a repository.

    >>> is_name("ann/my-gan"), is_name("my-gan"), is_name("ann/my/gan"), is_name("../gan")
    (True, False, False, False)
    """
    known = re.fullmatch(f"{PART}/{PART}", text, re.ASCII)
    return bool(known) and len(text) <= 96 and not text.endswith((".", "-", ".git"))


def name_in(text: str) -> str:
    """The name of a repository in its address, or before the @ of a revision; empty where there is none.

    >>> name_in("https://example.org/ann/gan.git"), name_in("ann/gan@main"), name_in("runs/ann"), name_in("a/b/c@d")
    ('ann/gan', 'ann/gan', '', '')
    """
    found = re.match(rf"\w+://[^/]+/({PART}/{PART})|({PART}/{PART})@", text, re.ASCII)
    name = (found[1] or found[2]).removesuffix(".git") if found else ""
    return name if is_name(name) else ""


def check_name(text: str) -> None:
    """Raise UsageError for what cannot be the name of a repository."""
    if not is_name(text):
        name = name_in(text)
        rest = "in letters of a to z, digits, '_', and single '-' and '.', without .git at its end"
        raise UsageError(
            f"{text!r} is not the name of a repository: write USER/NAME, {f'here {name!r}' if name else rest}"
        )


def check_hub(what: str) -> None:
    """Raise UsageError if the package huggingface_hub is missing."""
    if find_spec("huggingface_hub") is None:
        raise UsageError(f"{what} needs the package huggingface_hub: pip install 'steadygan[hub]'")


def check_token() -> None:
    """Raise UsageError if there is no token of the Hub on this machine."""
    from huggingface_hub import get_token

    if get_token() is None:
        raise UsageError(
            "there is no token of the Hugging Face Hub on this machine: run hf auth login, or set HF_TOKEN to a token "
            "that may write"
        )


@contextmanager
def hub_errors(name: str, before: str = "") -> Iterator[None]:
    """Inside the block, what the Hub or the network refuses becomes a UsageError. Its sentence starts with `before`."""
    from huggingface_hub import errors

    try:
        yield
    except UsageError:
        raise
    except errors.RepositoryNotFoundError:
        raise UsageError(
            f"{before}there is no repository {name!r} that you may read: check the name, or run hf auth login for a "
            "private one"
        ) from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        refused = "the token may not do this: take one that may write there"
        other = "try again later"
        raise UsageError(
            f"{before}the Hub refuses {name} (status {status}): {refused if status in (401, 403) else other}"
        ) from error
    except Exception as error:  # whatever the client or the network raises
        raise UsageError(
            f"{before}the Hub cannot be reached for {name!r} ({said(error)}): check the name and the network"
        ) from error
