"""Alternating gradient steps: one side of the game first, then the other side against the updated first one."""

from collections.abc import Mapping, Sequence

from steadygan.dynamics.player_steps import update
from steadygan.errors import UsageError
from steadygan.game import Draw, Game, Logs, Player, Rule, State
from steadygan.game.optimizers import Optimizer

__all__ = ["alternating", "check_inner"]


def alternating(
    game: Game, optimizers: Mapping[str, Optimizer], *, n_critic: int = 1, n_generator: int = 1
) -> Rule:
    """phi <- phi - h grad_phi L_D(phi, theta); then theta <- theta - h grad_theta L_G(phi_new, theta).

    The critics take `n_critic` steps. Then each other player takes one in turn. Each step has a fresh draw.
    With `n_generator` > 1 the generator is in the inner loop: each other player takes `n_generator` steps first,
    then the critics take one. Some games define their own order of updates (`Game.turns`). The rule then follows
    it, and repeats those of critics alone `n_critic` times and all others `n_generator` times. Each optimizer may
    be of its own kind.

    Raises UsageError where both counts are above 1, and for one below 1. Source: Goodfellow 2014, Algorithm 1;
    Mescheder 2017, Algorithm 3 (AltGA). The generator in the inner loop: Goodfellow 2016 (tutorial), section 5.1.1.
    """
    check_inner(n_critic, n_generator)
    turns = [
        turn
        for turn in game.turns or _in_turn(game, generator_first=n_generator > 1)
        for _ in range(n_critic if all(player.critic for player in turn.values()) else n_generator)
    ]

    def step(state: State, batch: Sequence[Draw]) -> tuple[State, Logs]:
        logs: Logs = {}
        for turn, draw in zip(turns, batch, strict=True):
            now = game._replace(players={**game.players, **turn})
            state, new = update(now, optimizers, tuple(turn), state, draw)
            logs |= new
        return state, logs

    return Rule(step, tuple(turn if game.turns else tuple(turn) for turn in turns))


def check_inner(n_critic: int, n_generator: int) -> None:
    """Raise UsageError where both sides of the game would be in the inner loop, or one in none."""
    if min(n_critic, n_generator) < 1:
        raise UsageError(
            f"each side takes a step or more, but n_critic={n_critic} and n_generator={n_generator}: choose 1 or more"
        )
    if n_critic > 1 and n_generator > 1:
        given = f"n_critic={n_critic} and n_generator={n_generator}"
        raise UsageError(f"one side of the game can be in the inner loop: set one of {given} to 1")


def _in_turn(game: Game, *, generator_first: bool) -> list[dict[str, Player]]:
    """The critics at once, then each other player alone; or those first."""
    critics = {name: player for name, player in game.players.items() if player.critic}
    others = [{name: player} for name, player in game.players.items() if not player.critic]
    return [*others, critics] if generator_first else [critics, *others]
