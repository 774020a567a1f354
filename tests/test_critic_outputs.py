"""How a critic's answer is read: by hand, and what is refused."""

import re
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from steadygan import losses
from steadygan.critic_outputs import answer, critics, differentiated, one_each, paired, ranks
from steadygan.errors import UsageError


class Answer(NamedTuple):
    logits: Tensor
    features: Tensor


class Output(dict):
    """A dict of its own class, as libraries return."""


X = torch.tensor([[1.0, 2.0], [3.0, 5.0]])


def test_sum_and_mean_are_over_a_samples_own_logits():
    # over the batch, or over all of both
    logits = torch.tensor([[[[1.0, 2.0]]], [[[3.0, 6.0]]]])
    assert one_each(logits, 2, "sum").tolist() == [3, 9]
    assert one_each(logits, 2, "mean").tolist() == [1.5, 4.5]


def test_one_number_a_sample_is_the_tensor_itself():
    logits = torch.ones(3)
    for reduce in (None, "sum", "mean"):
        assert one_each(logits, 3, reduce) is logits
    for shape in ((3, 1), (3, 1, 1, 1)):
        assert one_each(torch.ones(shape), 3).shape == (3,)
    assert one_each(torch.ones(0, 1, 6, 6), 0, "sum").shape == (0,)


def test_the_mean_of_a_fine_scale_counts_as_much_as_that_of_a_coarse_one():
    found = ranks(lambda x: [x, x[:, :1], torch.cat([x, x, x], 1)], X)
    assert found.tolist() == [1.5 + 1 + 1.5, 4 + 3 + 4]


@pytest.mark.parametrize(
    ("output", "logits"),
    [
        ((X, None), lambda out: out[0]),
        (Answer(X, X), lambda out: out.logits),
        (Output(logits=X), lambda out: out["logits"]),
        ({"a": {"b": X}}, lambda out: out["a"]["b"]),
    ],
    ids=["tuple", "named", "dict", "nested"],
)
def test_logits_are_taken_out_of_the_output(output, logits):
    assert answer(lambda x: output, X, logits=logits) is X
    with pytest.raises(UsageError, match="say which of it are the logits"):
        answer(lambda x: output, X)


def test_a_tuple_with_features_is_no_tuple_of_critics():
    """A loss of AC-GAN's answer took the classes for further critics."""
    logits, classes = torch.zeros(4, 1), torch.zeros(4, 5)
    with pytest.raises(
        UsageError, match=r"a part of shape \[4, 5\] may hold features .*out\[0\], or list\(out\)"
    ):
        losses.hinge.discriminator((logits, classes), (logits, classes))
    assert losses.hinge.discriminator([logits, classes], [logits, classes]) == 4
    assert losses.hinge.generator((logits, torch.zeros(4, 1, 3, 3))) == 0


def test_a_tuple_that_was_chosen_is_several_critics():
    assert len(critics(answer(lambda x: (x, x), X, logits=lambda out: out))) == 2


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ((X, [X]), "tuple of Tensor, list: .*logits=lambda out: out[0]"),
        (Output(score=X), "Output with 'score': .*logits=lambda out: out['score']"),
        ([[X, X]], "list of list: .*logits=lambda out: [scale[-1] for scale in out]"),
        (type("Out", (), {})(), "Out: .*logits=lambda out: out.logits"),
        (3.0, "float"),
    ],
    ids=["tuple", "dict", "lists", "object", "number"],
)
def test_an_output_that_needs_logits_is_named_with_the_line_to_write(output, words):
    with pytest.raises(UsageError, match=re.escape(words).replace(r"\.\*", ".*")):
        answer(lambda x: output, X)


def test_conditions_have_the_rows_of_x():
    assert answer(lambda x, y: x[:, 0] * y, X, y=torch.tensor([1, 2])).tolist() == [1, 6]
    for y in ((X, X), [X, X]):
        assert answer(lambda x, y, z: (x + y + z).sum(1), X, y=y).tolist() == [9, 24]
    for y, words in (
        (X[:1], r"2, but its shape is \[1, 2\]"),
        (torch.tensor(1), r"shape is \[\]"),
        (3, "int"),
    ):
        with pytest.raises(UsageError, match=words):
            answer(lambda x, y: x, X, y=y)


def test_pairs_are_of_the_same_critics():
    assert [[t.item() for t in pair] for pair in paired([X[0, :1], X[1, :1]], (X[0, 1:], X[1, 1:]))] == [
        [1, 2],
        [3, 5],
    ]
    with pytest.raises(UsageError, match="1 and 2 critics"):
        paired(X, [X, X])


def test_the_answer_comes_back_beside_the_gradients_as_the_critic_gave_it():
    seen = differentiated(lambda x: {"D": [x * x, x.sum(1)]}, X, reduce="mean", logits=lambda out: out["D"])
    assert [part.tolist() for part in seen.raw] == [(X * X).tolist(), [3, 8]]
    assert [part.tolist() for part in seen.logits] == [[2.5, 17], [3, 8]]
    assert [part.tolist() for part in seen.gradients] == [X.tolist(), [[1, 1], [1, 1]]]
    assert not isinstance(differentiated(lambda x: x[:, 0], X).raw, list)
