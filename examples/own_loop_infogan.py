"""A training loop of your own with InfoGAN's codes: python own_loop_infogan.py [steps]."""

import sys
from collections import OrderedDict

import torch
from torch import nn

from steadygan import information, losses, penalties


def with_codes(z, classes, numbers):
    """z [N, m], N(0, 1), its first numbers made a one-hot of `classes` and `numbers` codes uniform on [-1, 1]."""
    code = torch.eye(classes, dtype=z.dtype)[z[:, :classes].argmax(1)]
    number, rest = z[:, classes:].tensor_split([numbers], 1)
    return torch.cat([code, 2 * torch.special.ndtr(number) - 1, rest], 1)


def train(nets, optimizers, batches, classes, numbers, weight=1.0, penalty=0.1):
    G, D, Q = nets["G"], nets["D"], nets["Q"]  # D is D.last(D.trunk(x)), and Q reads what the trunk sees

    def bound(features, latent):
        guess, mean = Q(features).tensor_split([classes], 1)
        code, number, _ = latent.tensor_split([classes, classes + numbers], 1)
        return (information.categorical(guess, code) + information.continuous(mean, number)).mean()

    for x_real, z, z_next in batches:
        latent = with_codes(z, classes, numbers)
        features = D.trunk(G(latent).detach())
        known = bound(features, latent)
        loss_D = losses.non_saturating.discriminator(D.last(D.trunk(x_real)), D.last(features))
        loss_D = loss_D + penalty * penalties.r1(lambda x: D.last(D.trunk(x)), x_real) - weight * known
        for name, loss in (("Q", -known), ("D", loss_D)):
            optimizers[name].zero_grad()
            loss.backward(inputs=list(nets[name].parameters()), retain_graph=True)
        optimizers["Q"].step()
        optimizers["D"].step()

        latent = with_codes(z_next, classes, numbers)
        features = D.trunk(G(latent))
        loss_G = losses.non_saturating.generator(D.last(features)) - weight * bound(features, latent)
        optimizers["G"].zero_grad()
        loss_G.backward(inputs=list(G.parameters()))
        optimizers["G"].step()


if __name__ == "__main__":
    steps, batch = int(sys.argv[1]) if sys.argv[1:] else 2000, 256
    torch.manual_seed(0)
    angles = torch.arange(8) * torch.pi / 4
    centres = torch.stack([angles.cos(), angles.sin()], 1)
    trunk, G = (nn.Sequential(nn.Linear(n, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU()) for n in (2, 10))
    D = nn.Sequential(OrderedDict(trunk=trunk, last=nn.Sequential(nn.Linear(128, 1), nn.Flatten(0))))
    nets = {"G": G.append(nn.Linear(128, 2)), "D": D, "Q": nn.Linear(128, 8)}
    optimizers = {name: torch.optim.Adam(net.parameters(), 1e-3, (0.0, 0.99)) for name, net in nets.items()}
    reals = (centres[torch.randint(8, (batch,))] + 0.02 * torch.randn(batch, 2) for _ in range(steps))
    train(nets, optimizers, ((x, *torch.randn(2, batch, 10)) for x in reals), classes=8, numbers=0)
    near, mode = torch.cdist(G(with_codes(torch.randn(2000, 10), 8, 0)), centres).min(1)
    share = (near < 0.1).float().mean()
    print(f"{mode[near < 0.1].unique().numel()} of 8 modes, {share:.0%} of samples near one")
