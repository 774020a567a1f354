"""Options of other tools: what to write instead is right, and the sentence names the command's own help."""

import re
import shlex

import pytest
import typer

from steadygan import config
from steadygan.cli import app, wrong_turns
from steadygan.config import sweep
from steadygan.config.overrides import assigned
from steadygan.config.reference import find
from steadygan.recipes.catalogue import find_recipe

COMMANDS = typer.main.get_command(app.app).commands
COMMANDS |= {f"data {name}": command for name, command in COMMANDS["data"].commands.items()}
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
    "train --tracker wandb": "write 'trackers=[wandb]' (",
    "resume runs/a --gpus 2": "write torchrun --nproc-per-node 2 -m steadygan resume (",
    "sweep digits-fargan --lr 0.1": "write optimizer.lr=0.1 (see steadygan sweep --help)",
    "sweep digits-fargan --data ./faces": "write data=images data.path=./faces where these are your own images, or",
    "sweep digits-fargan --data cifar10": "write data=cifar10 (",
    "sweep digits-fargan --n-trials 5": "write --samples 5 (",
    "data prepare --data photos": "write steadygan data prepare photos (see steadygan data prepare --help)",
    "data prepare photos --resolution 32": "write --size 32 (",
    "data verify --data-dir sets": "or --data-root sets for a named data set (",
    "report --data runs/a": "write steadygan report runs/a (",
    "watch --logdir runs/a": "write steadygan watch runs/a (",
    "sample runs/a --seed 3": "write G(G.latents(64, seed=3)) with steadygan.load in Python",
    "train --colour": "(see steadygan train --help)",
    "sweep ring8-fargan --scale tiny": "No such option: --scale (Possible",
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


@pytest.mark.parametrize(("group", "names"), [("probe", "gamma"), ("data", "info, verify, prepare")])
def test_a_group_without_a_command_names_those_that_it_has(group, names, command):
    done = command(group)
    assert (done.code, "Commands" in done.out) == (2, True)  # its help
    assert done.err == f"error: steadygan {group} needs a command: {names} (see steadygan {group} --help)\n"


@pytest.mark.parametrize("option", ["--lr 0.1", "--beta1 0.5", "--tracker wandb", "--tb", "--data ./faces"])
def test_what_is_written_in_a_sweep_is_a_value_of_its_key(option):
    """There [a, b] are two values: betas and trackers, as `train` takes them, would be none."""
    words = shlex.split(option)
    form = wrong_turns.right_form("sweep", words[0], words).partition(" where")[0]
    values = sweep.read(shlex.split(form))
    assert values
    assert sweep.swept(values) == []
    config.parse(assigned(find_recipe("digits-fargan")[1], [(key, one) for key, (one,) in values.items()]))
