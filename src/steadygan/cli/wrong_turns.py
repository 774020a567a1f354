"""Options that other tools have and a command lacks, with what to write instead."""

import itertools
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from steadygan.recipes.catalogue import key_paths

__all__ = ["right_form"]

OVERRIDES = ("train", "resume")
"""The commands that take KEY=VALUE."""

FOLDER = "--images DIR where these are your own images, or --data-root DIR where it holds named data sets"

TRAINING = {
    "steps=..., which is epochs x images / batch": ("epochs", "n-epochs", "num-epochs", "max-epochs"),
    "steps=N": ("iterations", "iters", "n-iter", "niter", "max-steps", "num-steps", "train-steps"),
    "batch=N": ("batch-size", "bs", "batchsize", "train-batch-size"),
    "optimizer.lr=X": ("lr", "learning-rate"),
    "'optimizer.betas=[X,0.999]'": ("beta1", "b1", "adam-beta1"),
    "networks.latent=N": ("latent-dim", "latent-size", "z-dim", "nz", "noise-dim"),
    "dynamics.n_critic=N": ("n-critic", "n-dis", "d-iters"),
    "game.loss=NAME": ("gan-loss", "loss", "loss-type", "adv-loss"),
    "ema.decay=X": ("ema-decay",),
    "accumulate=N": ("grad-accum", "gradient-accumulation-steps"),
    "device=cuda": ("gpu", "cuda", "gpu-id", "gpu-ids", "use-gpu"),
    "device=cpu": ("cpu", "no-cuda"),
    "torchrun --nproc-per-node N -m steadygan train": ("gpus", "n-gpus", "num-gpus", "world-size", "devices"),
    "precision=bfloat16": ("amp", "fp16", "bf16", "mixed-precision"),
    "'trackers=[tensorboard]'": ("tb", "tensorboard", "use-tensorboard"),
    "'trackers=[wandb]'": ("wandb", "use-wandb"),
    "'trackers=[mlflow]'": ("mlflow",),
}
"""What to write in `train` and `resume`: a capital word stands for the option's value."""

DIRECTORY = (
    "output",
    "outdir",
    "output-dir",
    "out-dir",
    "save-dir",
    "logdir",
    "log-dir",
    "run-dir",
    "results",
)

RESUMING = ("resume", "checkpoint", "ckpt", "load", "continue", "resume-from", "resume-from-checkpoint")

TURNS = {
    "train": {
        **TRAINING,
        FOLDER: ("data", "dataset", "data-dir", "data-path", "dataroot", "dataset-dir"),
        "--out DIR": DIRECTORY,
        "--size N with --images": ("image-size", "img-size", "resolution", "res"),
        "steadygan resume DIR": RESUMING,
        "steadygan train FILE": ("config", "cfg", "config-file", "recipe"),
        "networks=NAME": ("model", "arch", "backbone"),
    },
    "resume": {
        **TRAINING,
        "--data-root DIR": ("data", "data-dir", "data-path", "dataroot"),
        "steadygan resume DIR": (*RESUMING, "run"),
    },
    "sample": {
        "-n N": ("num", "num-samples", "n-samples", "samples", "count", "num-images", "batch-size"),
        "--out FILE": DIRECTORY,
        "--label N": ("class", "classes", "class-idx"),
        "steadygan sample DIR": ("run", "model", "checkpoint", "ckpt", "network", "load"),
    },
    "evaluate": {
        "-n N": ("num-samples", "n-samples", "num-images", "num-gen"),
        "--images DIR": ("fake", "fakes", "input1"),
        "--against DIR": ("reals", "reference", "input2", "ref", "data"),
        "--batch N": ("batch-size", "bs"),
        "steadygan evaluate DIR": ("run", "model", "ckpt", "network", "load"),
    },
    "export": {
        "--to FORMAT": ("format", "type"),
        "--to onnx": ("onnx",),
        "--out FILE": DIRECTORY,
        "steadygan export DIR": ("run", "model", "checkpoint", "ckpt", "load"),
    },
    "report": {
        "--out FILE": DIRECTORY,
        "steadygan report DIR": ("run", "runs"),
    },
}
"""For each command, what to write instead of options that other tools have."""


def right_form(command: str, option: str, words: Sequence[str]) -> str:
    """What to write instead of an unknown option, with the value that it has in `words`; empty if it is not known.

    >>> right_form("train", "--batch_size", ["train", "--batch_size", "64"])
    'batch=64'
    >>> right_form("train", "--steps", ["train", "--steps=9"]), right_form("train", "--optimizer.lr", [])
    ('steps=9', 'optimizer.lr=VALUE')
    >>> right_form("compare", "--colour", [])
    ''
    """
    name = option.lstrip("-").lower().replace("_", "-")
    found = next((form for form, names in TURNS.get(command, {}).items() if name in names), "")
    key = option.lstrip("-").replace("-", "_")
    if not found and command in OVERRIDES and key in key_paths():
        found = f"{key}=VALUE"
    value = _value(option, words)
    if found == FOLDER and name in ("data", "dataset") and value and not _is_path(value):
        found = "data=NAME"
    return (
        re.sub(r"\b(N|X|DIR|FILE|NAME|FORMAT|VALUE)\b", lambda _: shlex.quote(value), found)
        if value
        else found
    )


def _is_path(value: str) -> bool:
    return "/" in value or value.startswith((".", "~")) or value.endswith(".zip") or Path(value).exists()


def _value(option: str, words: Sequence[str]) -> str:
    """The value that an option was given: after its `=`, or the next word."""
    for word, after in itertools.zip_longest(words, words[1:], fillvalue=""):
        if word.startswith(f"{option}="):
            return word.removeprefix(f"{option}=")
        if word == option and not after.startswith("-"):
            return after
    return ""
