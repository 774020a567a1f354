"""Options that other tools have and a command lacks, with what to write instead."""

import itertools
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from steadygan.recipes.catalogue import key_paths

__all__ = ["right_form"]

OVERRIDES = ("train", "resume", "sweep")
"""The commands that take KEY=VALUE."""

FOLDERS = {
    "train": "--images DIR where these are your own images, or --data-root DIR where it holds named data sets",
    "sweep": "data=images data.path=DIR where these are your own images, or --data-root DIR where it holds named "
    "data sets",
}
"""What to write for a folder of data. A value that is no path is the name of a data set."""

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
    "precision=bfloat16": ("amp", "fp16", "bf16", "mixed-precision"),
    "'trackers=[tensorboard]'": ("tb", "tensorboard", "use-tensorboard"),
    "'trackers=[wandb]'": ("wandb", "use-wandb"),
    "'trackers=[mlflow]'": ("mlflow",),
    "'trackers=[NAME]'": ("tracker", "logger", "log-with", "report-to"),
}
"""What to write in `train` and `resume`: a capital word stands for the option's value."""

SET = ("data", "dataset")

ROOT = ("data-dir", "data-path", "dataroot", "dataset-dir")

SIDE = ("image-size", "img-size", "resolution", "res")

PROCESSES = ("gpus", "n-gpus", "num-gpus", "world-size", "devices")

OUTPUT = ("output", "outdir", "output-dir", "out-dir", "save-dir", "results")

LOGS = ("logdir", "log-dir", "run-dir")
"""Where a training run is written to, and where a report reads it."""

DIRECTORY = (*OUTPUT, *LOGS)

RECIPE = ("config", "cfg", "config-file", "recipe")

NETWORKS = ("model", "arch", "backbone")

RESUMING = ("resume", "checkpoint", "ckpt", "load", "continue", "resume-from", "resume-from-checkpoint")

OWN: dict[str, dict[str, tuple[str, ...]]] = {
    command: {
        f"steadygan {command} DIR": (*SET, "images", "source"),
        f"steadygan {command} DIR where these are your own images, or --data-root DIR for a named data set": ROOT,
    }
    for command in ("data info", "data verify", "data prepare")
}
"""What to write in the commands that take a folder of images as it is."""

TURNS: dict[str, dict[str, tuple[str, ...]]] = {
    "train": {
        **TRAINING,
        "torchrun --nproc-per-node N -m steadygan train": PROCESSES,
        FOLDERS["train"]: (*SET, *ROOT),
        "--out DIR": DIRECTORY,
        "--size N with --images": SIDE,
        "steadygan resume DIR": RESUMING,
        "steadygan train FILE": RECIPE,
        "networks=NAME": NETWORKS,
    },
    "resume": {
        **TRAINING,
        "torchrun --nproc-per-node N -m steadygan resume": PROCESSES,
        "--data-root DIR": ("data", *ROOT),
        "steadygan resume DIR": (*RESUMING, "run"),
    },
    "sweep": {
        # where [a, b] are two values, and a value that is a list is written [[a, b]]
        **{form.replace("[", "[[").replace("]", "]]"): names for form, names in TRAINING.items()},
        FOLDERS["sweep"]: (*SET, *ROOT, "images"),
        "--out DIR": DIRECTORY,
        "--samples N": ("n-samples", "num-samples", "trials", "n-trials", "num-trials"),
        "--by NAME": ("metric", "score"),
        "data.size=N": (*SIDE, "size"),
        "steadygan resume DIR": RESUMING,
        "steadygan sweep FILE": RECIPE,
        "networks=NAME": NETWORKS,
    },
    "sample": {
        "-n N": ("num", "num-samples", "n-samples", "samples", "count", "num-images", "batch-size"),
        "--out FILE": DIRECTORY,
        "--label N": ("class", "classes", "class-idx"),
        "G(G.latents(64, seed=N)) with steadygan.load in Python, as the run's seed decides here": ("seed",),
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
        "--out FILE": OUTPUT,
        "steadygan report DIR": ("run", "runs", "data", *LOGS),
    },
    "watch": {"steadygan watch DIR": ("run", "runs", "data", *LOGS)},
    **OWN,
    "data prepare": {**OWN["data prepare"], "--size N": SIDE},
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
    # The value of the key `scale` is a table of presets.
    if not found and command in OVERRIDES and key in key_paths() and key != "scale":
        found = f"{key}=VALUE"
    value = _value(option, words)
    if found == FOLDERS.get(command) and name in SET and value and not _is_path(value):
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
