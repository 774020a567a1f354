"""The one exception that bad input raises on its way to exit code 2."""

import difflib
import re
import shlex
import warnings
from collections.abc import Iterable, Sequence


class DataNote(Warning):
    """What was left out of a data set or a run, or assumed of it, when it was read. Commands print it as a note."""


class RunFailed(Warning):
    """Why a run that `steadygan.fit` trained ended early: it diverged, or a verdict in `stop_on` stopped it."""


def left_out(what: object) -> None:
    """Note that a file of a run, or a part of it, is damaged and left out."""
    warnings.warn(f"left out, because it is damaged: {what}", DataNote, stacklevel=2)


class UsageError(ValueError):
    """Bad usage or input: one clear sentence with the remedy. The command line exits with code 2."""


class SaidByFirst(UsageError):
    """An error of the first process of several, which says it: the others end without a word."""


def command_line(*words: object) -> str:
    """Return a command of this package as a shell reads it, for a remedy.

    >>> command_line("resume", "runs/my run")
    "steadygan resume 'runs/my run'"
    """
    return shlex.join(["steadygan", *map(str, words)])


ELSEWHERE: dict[str, tuple[str, ...]] = {
    "wasserstein": ("wgan", "wgan_gp"),
    "hinge": ("hinge_loss",),
    "least_squares": ("lsgan", "ls", "mse"),
    "non_saturating": ("bce", "dcgan", "gan", "logistic", "ns", "nsgan", "softplus", "vanilla"),
    "minimax": ("saturating",),
    "relativistic": ("rpgan", "rsgan"),
    "one_centered": ("1gp", "gp", "wgan_gp"),
    "one_sided": ("lp", "wgan_lp"),
    "zero_centered": ("0gp", "zero_gp"),
    "spectral_normalized": ("sn", "sngan"),
    "gradient_normalized": ("gn", "gngan"),
    "penalty_gradient_normalized": ("pgn", "pgngan"),
    "consensus": ("co", "conopt", "consensus_optimization"),
    "optimistic": ("ogda", "omd", "optimistic_mirror_descent"),
    "extragradient": ("eg",),
    "symplectic": ("sga",),
    "diffaugment": ("diff_aug", "diffaug"),
}
"""What other programs and papers call the parts of a recipe."""


def nearest(word: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """Say what `word` may have meant: the closest of `known`. When none is close: `otherwise`, or all of them.

    >>> nearest("hinje", ["hinge", "wasserstein"]), nearest("WGAN", ["hinge", "wasserstein"])
    ("did you mean 'hinge'?", "did you mean 'wasserstein'?")
    """
    names = sorted(known)
    usual = word.lower().replace("-", "_")
    same = [name for name in names if usual in ELSEWHERE.get(name, ())]
    if same:
        return f"did you mean {same[0]!r}?"
    close = [
        name for name in difflib.get_close_matches(word, names, n=3, cutoff=0.5) if 2 * len(name) > len(word)
    ]
    swaps = {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(len(word) - 1)}
    swapped = [name for name in close if name in swaps]  # of which difflib thinks little
    if close:
        return f"did you mean {(swapped + close)[0]!r}?"
    return otherwise or f"known are {_listed(names)}"


def _listed(names: Sequence[str], most: int = 150) -> str:
    """Names as far as a sentence has room for them."""
    room = 0
    for count, name in enumerate(names):
        room += len(name) + 2
        if room > most:
            return f"{', '.join(names[:count])} and {len(names) - count} more"
    return ", ".join(names)


def short(sentence: str, most: int = 250) -> str:
    """A sentence with a user's own words, of which long ones are cut, and the middle where it is too long then.

    >>> short("steps takes: whole number >= 1, not " + 300 * "9")
    'steps takes: whole number >= 1, not 9999999999999999999999999999999999999999...'
    """
    words = [word if len(word) <= 60 else f"{word[:40]}..." for word in sentence.split()]
    text = " ".join(words)
    half = most // 2
    return text if len(text) <= most else f"{text[:half].rstrip()} ... {text[-half:].lstrip()}"


def said(error: BaseException) -> str:
    """The type of an error and the first sentence of its text.

    >>> said(ValueError("no\\nnever")), said(KeyError())
    ('ValueError: no', 'KeyError')
    """
    first = str(error).strip().partition("\n")[0].split(". ")[0].rstrip(".:")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def printable(text: str) -> str:
    r"""Return a text as one line, such as a file's name. What is no printable character is escaped.

    Among these are line ends, what moves a terminal's cursor or colours it, and what turns the direction of writing.

    >>> print(printable("a\n\udcff\x1b[31m\u202e.png"))
    a\n\udcff\x1b[31m\u202e.png
    """
    return re.sub("[^ -~]", lambda c: c[0] if c[0].isprintable() else ascii(c[0])[1:-1], text)


def printable_lines(text: str) -> str:
    """Return a text of several lines, each of them as `printable` has it."""
    return "\n".join(map(printable, text.split("\n")))
