"""Options of other tools: what to write instead is right, and the sentence names the command's own help."""

import re
import shlex

import pytest
import typer

from steadygan.cli import app, wrong_turns
from steadygan.config.reference import find

COMMANDS = typer.main.get_command(app.app).commands
FORMS = [(command, form) for command, forms in wrong_turns.TURNS.items() for form in forms]


@pytest.mark.parametrize(("command", "form"), FORMS)
def test_every_form_names_keys_and_options_that_exist(command, form):
    known = {name for param in COMMANDS[command].params for name in param.opts}
    named = re.findall(r"(?<![\w-])(-n|--[\w-]+)", form.replace("--nproc-per-node", ""))
    assert set(named) <= known
    for key in re.findall(r"([a-z][\w.]*)=", form):
        assert find(key)
    for other in re.findall(r"steadygan (\w+) ", form):
        assert other in COMMANDS


@pytest.mark.parametrize("command", wrong_turns.TURNS)
def test_no_option_that_a_command_has_is_called_wrong(command):
    options = [param for param in COMMANDS[command].params if param.param_type_name == "option"]
    known = {name.lstrip("-") for param in options for name in param.opts}
    names = [name for names in wrong_turns.TURNS[command].values() for name in names]
    assert not known & set(names)
    assert len(names) == len(set(names))


WRONG = {
    "train --batch-size 64": "write batch=64 (see steadygan train --help)",
    "train ring8-fargan --lr=1e-4": "write optimizer.lr=1e-4 (",
    "train --epochs 10": "write steps=..., which is epochs x images / batch (",
    "train --data ./faces": "write --images ./faces where these are your own images, or --data-root ./faces",
    "train --data cifar10": "write data=cifar10 (",
    "train --output 'my runs'": "write --out 'my runs' (",
    "train --resume runs/a": "write steadygan resume runs/a (",
    "train --seed 3": "write seed=3 (",
    "train --gpu": "write device=cuda (",
    "train --fake_as_real.count 4": "write fake_as_real.count=4 (",
    "sample runs/a --num_samples 9": "write -n 9 (see steadygan sample --help)",
    "train --colour": "(see steadygan train --help)",
    "data info --colour": "(see steadygan data info --help)",
    "trian": "Did you mean 'train'? (see steadygan --help)",
    "evaluate --batch no": "(see steadygan evaluate --help)",
}


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_turn_is_one_sentence_with_the_right_form(command, line, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    done = command(*shlex.split(line))
    assert (done.code, done.out) == (2, "")
    assert WRONG[line] in done.err
    assert len(done.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
