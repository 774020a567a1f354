"""A library of the name wandb that writes down what it is given, and fails as $STUB says."""

import json
import os
import time
from pathlib import Path

MODE, BOOK = os.environ.get("STUB", ""), Path(os.environ.get("STUB_BOOK", os.devnull))


def write(*what: object) -> None:
    with BOOK.open("a") as book:
        book.write(json.dumps(what, default=lambda picture: {"picture": Path(picture.path).name}) + "\n")


class Image:
    def __init__(self, path: str) -> None:
        self.path = path


class Summary:
    def __init__(self, id: str) -> None:
        self.id = id

    def __setitem__(self, key: str, value: str) -> None:
        write("summary", self.id, key, value)


class Run:
    def __init__(self, id: str) -> None:
        self.id, self.url, self.summary = id, f"http://stub/{id}", Summary(id)

    def log(self, values: dict, step: int) -> None:
        if MODE == "middle" and step > 4:
            raise ConnectionError("the line is dead")
        write("log", self.id, step, values)

    def finish(self, exit_code: int) -> None:
        write("finish", self.id, exit_code)


def init(**options: object) -> Run:
    if MODE == "start":
        raise ConnectionError("no network")
    if MODE == "hang":
        time.sleep(600)
    write("init", options["id"], options)
    return Run(options["id"])
