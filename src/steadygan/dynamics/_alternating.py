"""Alternating gradient steps: the critics first, then everyone else against the updated critics."""

from collections.abc import Mapping, Sequence

from steadygan.dynamics.player_steps import update
from steadygan.game import Draw, Game, Logs, Player, Rule, State
from steadygan.game.optimizers import Optimizer

__all__ = ["alternating"]


def alternating(game: Game, optimizers: Mapping[str, Optimizer], *, n_critic: int = 1) -> Rule:
    """phi <- phi - h grad_phi L_D(phi, theta); then theta <- theta - h grad_theta L_G(phi_new, theta).

    The critics take `n_critic` steps. Then each other player takes one in turn. Each step has a fresh draw.
    Some games define their own order of updates (`Game.turns`). The rule then follows it, and repeats those
    of critics alone `n_critic` times. Each optimizer may be of its own kind.

    Source: Goodfellow 2014, Algorithm 1; Mescheder 2017, Algorithm 3 (AltGA).
    """
    turns = [
        turn
        for turn in game.turns or _in_turn(game)
        for _ in range(n_critic if all(player.critic for player in turn.values()) else 1)
    ]

    def step(state: State, batch: Sequence[Draw]) -> tuple[State, Logs]:
        logs: Logs = {}
        for turn, draw in zip(turns, batch, strict=True):
            now = game._replace(players={**game.players, **turn})
            state, new = update(now, optimizers, tuple(turn), state, draw)
            logs |= new
        return state, logs

    return Rule(step, tuple(turn if game.turns else tuple(turn) for turn in turns))


def _in_turn(game: Game) -> list[dict[str, Player]]:
    """The critics at once, then each other player alone."""
    critics = {name: player for name, player in game.players.items() if player.critic}
    return [critics, *({name: player} for name, player in game.players.items() if not player.critic)]
