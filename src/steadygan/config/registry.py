"""The tables of all that a recipe may name, with their options: the one place where names become objects."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

from steadygan import augment, dynamics, losses, networks, normalization, penalties
from steadygan.config.field_types import (
    SCHEDULES,
    Classes,
    Count,
    Natural,
    NonNegative,
    Positive,
    Real,
    Share,
    Words,
    choice,
    value,
)
from steadygan.config.records import (
    DataPart,
    GamePart,
    NetworkPart,
    OptimizerPart,
    Option,
    Options,
    Part,
    RulePart,
)
from steadygan.data import synthetic
from steadygan.data.cifar import CIFAR10, CIFAR100
from steadygan.data.decoding import COLOURS, CROPS, FILTERS
from steadygan.data.emoji_sheet import EMOJI
from steadygan.data.fashion_files import FASHION_MNIST
from steadygan.data.folders import CELEBA_HQ, LSUN, image_folder
from steadygan.data.hugging_face_sets import hugging_face
from steadygan.data.imagenet import IMAGENET64
from steadygan.data.shards import webdataset
from steadygan.data.sklearn_digits import DIGITS, stacked_digits
from steadygan.data.sources import DataSet
from steadygan.data.stl import STL10
from steadygan.data.stream_data import REFERENCE, SHUFFLE
from steadygan.dynamics._smoothing import READINGS
from steadygan.errors import UsageError
from steadygan.game import Game, Rule
from steadygan.game import optimizers as optim
from steadygan.games import (
    adaptive,
    bcr,
    began,
    bilinear,
    centering,
    cr,
    differentiable,
    ebgan,
    gan,
    infogan,
    lecam,
    mdgan,
    quadratic,
    reg_gan,
    zcr,
)
from steadygan.games._quadratic import blocks
from steadygan.games.consistency_terms import MOVES

__all__ = [
    "AUGMENTATIONS",
    "CONSISTENCY",
    "CRITICS",
    "DATA",
    "DYNAMICS",
    "GAMES",
    "LOGIT_PENALTIES",
    "LOSSES",
    "NETWORKS",
    "NORMALIZATIONS",
    "OPTIMIZERS",
    "PENALTIES",
    "SCHEDULES",
]

_seed = {"seed": Option(Natural, 0, "Seed by which a fixed set is drawn.")}
_points = {
    "scale": Option(Positive, 2.0, "Size of the figure.", 10.0),
    "size": Option(
        Count | None, None, "How many points the set has. null: new points at every step, without end.", 1000
    ),
    **_seed,
}
_flip = Option(bool, False, "Whether a step sees each image mirrored left to right with probability 1/2.")
_limit = {
    "limit": Option(Count | None, None, "Train on this many of the images only, chosen at random.", 1000),
    "limit_seed": Option(Natural, 0, "Seed of the choice that `limit` makes."),
}
_root = {
    "root": Option(
        str | None,
        None,
        "Folder that holds the set's files, as `--data-root`. null: the one that STEADYGAN_DATA names.",
        "~/data",
    )
}
_filter = {"filter": Option(Literal[*FILTERS], "lanczos", "How Pillow interpolates when images are resized.")}
_fit = {
    **_filter,
    "crop": Option(
        Literal[*CROPS],
        "center",
        "center: cut out the central square. pad: add black borders to the whole image. none: squeeze the whole image.",
    ),
}
_below = {
    "split": Option(str | None, None, "Subfolder whose images are taken. null: all images.", "bedroom_train")
}
_colour = Option(
    Literal[*COLOURS] | None,
    None,
    "rgb or grey: turn all images to colour or to grey. null: all must be of one kind already.",
    "rgb",
)
_reference = {
    "reference": Option(
        Count,
        REFERENCE,
        "How many samples are kept in memory, for scores and pictures; at most 1 GiB.",
        50_000,
    )
}
_flipped = {**_root, "flip": _flip._replace(default=True)}


def _side(default: int | None) -> Options:
    meaning = "Side in pixels to which images are cropped and resized."
    if default is None:
        return {"size": Option(Count | None, None, f"{meaning} null: all must have one size already.", 64)}
    return {"size": Option(Count, default, meaning)}


def _split(known: DataSet, default: str) -> Options:
    counts = ", ".join(f"{name} {count:,}" for name, count in known.counts.items())
    return {
        "split": Option(Literal[*known.counts], default, f"Part of the set to train on ({counts} images).")
    }


def _images(known: DataSet, meaning: str, options: Options) -> DataPart:
    """A named set of images. Each can be cut to `limit` images, drawn by `limit_seed`: `build` does it."""
    return DataPart(known.load, meaning, {**options, **_limit}, known)


_std = "Standard deviation of a Gaussian, before the division by "

DATA: dict[str, DataPart] = {
    "ring8": DataPart(
        synthetic.ring,
        "Eight Gaussians evenly spaced on a circle of radius scale / 1.414.",
        {
            **_points,
            "std": Option(Positive, 0.02, f"{_std}1.414."),
            "stratified": Option(
                bool,
                False,
                "Whether a batch has equally many points of each Gaussian, without `size`.",
            ),
        },
    ),
    "grid25": DataPart(
        synthetic.grid,
        "25 Gaussians on a square grid with the spacing scale / 1.414.",
        {
            **_points,
            "std": Option(Positive, 0.05, f"{_std}2.828 and times the scale."),
            "size": Option(Count, 100_000, "How many points the set has."),
        },
    ),
    "gaussian": DataPart(
        synthetic.gaussian,
        "A fixed number of points from one Gaussian.",
        {
            **_points,
            "scale": Option(Positive, 1.0, "Standard deviation."),
            "size": Option(Count, 100, "How many points the set has."),
        },
    ),
    "swissroll": DataPart(
        synthetic.swissroll,
        "A spiral in the plane, with noise.",
        {
            **_points,
            "noise": Option(NonNegative, 0.25, "Standard deviation of the noise, times scale / 7.5."),
        },
    ),
    "dirac": DataPart(synthetic.dirac, "The number 0 alone, for the Dirac-GAN (Mescheder et al. 2018)."),
    "none": DataPart(synthetic.nothing, "No data, for the games bilinear and quadratic."),
    "digits": _images(DIGITS, "scikit-learn's 1,797 grey digits of 8x8, in 10 classes.", {}),
    "stacked_digits": DataPart(
        stacked_digits,
        "Three of scikit-learn's digits as the channels of one 8x8 image: 1,000 modes to count.",
        {"size": Option(Count, 51_200, "How many images are made."), **_seed, **_limit},
    ),
    "fashion_mnist": _images(
        FASHION_MNIST,
        "Fashion-MNIST: 60,000 grey images of clothes, 28x28 with a border to 32x32, in 10 classes.",
        {**_root, "flip": _flip},
    ),
    "cifar10": _images(CIFAR10, "CIFAR-10: 50,000 colour images of 32x32 in 10 classes.", _flipped),
    "cifar100": _images(CIFAR100, "CIFAR-100: 50,000 colour images of 32x32 in 100 classes.", _flipped),
    "stl10": _images(
        STL10,
        "STL-10: colour images of 96x96, resized.",
        {**_flipped, **_split(STL10, "unlabeled"), **_side(48), **_filter},
    ),
    "celeba_hq": _images(
        CELEBA_HQ,
        "CelebA-HQ: 30,000 photographs of faces.",
        {**_flipped, **_split(CELEBA_HQ, "all"), **_side(128), **_fit},
    ),
    "imagenet64": _images(
        IMAGENET64, "ImageNet-64: 1,281,167 colour images of 64x64 in 1,000 classes.", _flipped
    ),
    "emoji": _images(
        EMOJI,
        "3,786 colour emoji of 64x64 in 10 categories, from npm's emoji-datasource-google.",
        {**_root, "flip": _flip, **_side(64), **_filter},
    ),
    "lsun": _images(
        LSUN,
        "LSUN, exported to image files: a folder or zip named lsun.",
        {**_flipped, **_below, **_side(256), **_fit},
    ),
    "images": DataPart(
        image_folder,
        "Your own images: every file in a folder or zip that Pillow can read, subfolders included.",
        {
            "path": Option(str, ..., "The folder or the zip.", "~/photos"),
            **_side(None),
            "flip": _flip,
            **_below,
            **_fit,
            "colour": _colour,
            "white": Option(
                Count | None,
                None,
                "Value of 16-bit images that becomes white. null: 65535, which they must come near.",
                4095,
            ),
            "cut": Option(
                Count | None,
                None,
                "Side in pixels of the central square that is cut out first. null: the whole image.",
                160,
            ),
            **_limit,
        },
    ),
    "webdataset": DataPart(
        webdataset,
        "Your own images in WebDataset shards (tar files), read while training goes on.",
        {
            "path": Option(str, ..., "The shards, or the folder that holds them.", "shards/{000..127}.tar"),
            **_side(None),
            "flip": _flip,
            **_fit,
            "colour": _colour,
            "classes": Option(Natural, 0, "How many classes the .cls files number. 0: no labels.", 10),
            **_reference,
            "shuffle": Option(
                Count, SHUFFLE, "How many samples are read at a time and put into a random order.", 10_000
            ),
        },
    ),
    "hugging_face": DataPart(
        hugging_face,
        "Images of a Hugging Face data set on this machine, read while training goes on.",
        {
            "path": Option(
                str, ..., "Folder that save_to_disk has written, or one of .parquet files.", "~/mnist"
            ),
            "split": Option(str | None, None, "Part of the data set. null: its only one.", "train"),
            **_side(None),
            "flip": _flip,
            **_fit,
            "colour": _colour,
            **_reference,
        },
    ),
}


def _given(what: str) -> Callable[..., Any]:
    """The maker of an entry whose object the caller brings: it says how, where nobody has brought one."""

    def missing(*_: Any, **__: Any) -> Any:
        raise UsageError(
            f"{what} of your own come from a file that you name (--use FILE) or from a program (steadygan.fit): name "
            "the file, or call fit with resume=True for the same folder and use the run that it returns"
        )

    return missing


DATA["own"] = DataPart(
    _given("data"), "Your own data: those of steadygan.fit, or of the file that --use names."
)

LOSSES = {name: Part(lambda loss=loss: loss, loss.meaning) for name, loss in losses.LOSSES.items()}
LOSSES["own"] = Part(
    _given("losses"), "Your own pair of functions: that of steadygan.fit, or of the file --use names."
)
LOSSES["least_squares"] = Part(
    lambda scale: losses.Loss(
        partial(losses.least_squares.discriminator, scale=scale),
        partial(losses.least_squares.generator, scale=scale),
    ),
    losses.least_squares.meaning,
    {"scale": Option(Positive, 0.5, "Factor of each squared distance.", 1.0)},
)

_penalty = {
    "weight": Option(value(low=0), 10.0, "Factor of the penalty in the critic's loss, without a 1/2."),
    "interval": Option(
        Count, 1, "Lazy penalty: taken every this many steps, and then weighted this many times more.", 16
    ),
}
_squared = {
    **_penalty,
    "of": Option(
        Literal[*penalties.SQUARED], "logit", "Take the gradient of the logit, or of its sigmoid D(x)."
    ),
}

_approximated = {
    **_penalty,
    "sigma": Option(
        Positive,
        penalties.SIGMA,
        "Standard deviation of the step to the near sample; in bfloat16 0.1 or more.",
        0.1,
    ),
}
_of_penalty = {
    **dict.fromkeys(("r1", "r2", "zero_centered"), _squared),
    **dict.fromkeys(("approximated_r1", "approximated_r2"), _approximated),
}

PENALTIES = {
    name: Part(make, make().meaning, _of_penalty.get(name, _penalty))
    for name, make in penalties.PENALTIES.items()
}
PENALTIES["difference"] = Part(
    penalties.PAIRED["difference"],
    penalties.PAIRED["difference"]().meaning,
    {
        **_penalty,
        "delta": Option(
            Positive, ..., "Distance up to which a pair is close, over all dimensions of a sample.", 0.1
        ),
    },
)

_share = Option(value(low=0, high=1), 0.99, "Share of the running means that a step keeps.", 0.999)

LOGIT_PENALTIES = {
    "centering": Part(
        centering,
        "Squared sum of a real and a fake logit, which keeps them about 0 (Lin et al. 2025, AFM).",
        {"weight": Option(value(low=0), 0.01, "Factor of the term in the critic's loss.", 0.1)},
    ),
    "lecam": Part(
        lecam,
        "LeCam: squared distance of the logits to the other side's running mean (Tseng et al. 2021).",
        {
            "weight": Option(value(low=0), 0.3, "Factor of the term in the critic's loss.", 0.01),
            "decay": _share,
        },
    ),
}

_eps = {
    "eps": Option(
        NonNegative,
        normalization.EPS,
        "Added to the norm, so that 0/0 is 0. 0 is the published formula.",
        1e-8,
    )
}

NORMALIZATIONS = {
    "none": Part(lambda: None, "The critic as it is."),
    "gradient_normalized": Part(
        lambda eps: partial(normalization.gradient_normalized, eps=eps),
        "GN: f / (|grad f| + |f|), which bounds the output by 1 (Wu et al. 2021).",
        _eps,
    ),
    "penalty_gradient_normalized": Part(
        lambda reading, eps: partial(normalization.penalty_gradient_normalized, reading=reading, eps=eps),
        "PGN: g / (|1 - grad f| + |g|) with g = 1 - f (Xia 2023).",
        {
            "reading": Option(
                Literal[*normalization.READINGS],
                "elementwise",
                "What |1 - grad f| means. elementwise: 1 less each component. proof: |grad f|. scalar: 1 - |grad f|.",
            ),
            **_eps,
        },
    ),
    "spectral_normalized": Part(
        lambda: normalization.spectral_normalized,
        "SN: every weight over its largest singular value (Miyato et al. 2018).",
    ),
}
"""The first kinds wrap the critic's output, the last one its module."""

_weight = Option(value(low=0), 10.0, "Factor of the term for real samples in the critic's loss.")
_move = {
    "move": Option(
        Literal[*MOVES],
        "flip_and_shift",
        "The small change: mirroring and shifting for images, jitter (Gaussian noise) for points.",
    )
}

CONSISTENCY = {
    "cr": Part(
        cr,
        "CR: pulls the logits of a real sample and of its changed copy together (Zhang et al. 2020).",
        {"weight": _weight, **_move},
    ),
    "bcr": Part(
        bcr,
        "bCR: the same for real and generated samples (Zhao et al. 2021).",
        {
            "weight": _weight,
            "weight_fake": _weight._replace(meaning="Factor of the term for generated samples."),
            **_move,
        },
    ),
    "zcr": Part(
        zcr,
        "zCR: pulls the logits of near latents together, and pushes their samples apart (Zhao et al. 2021).",
        {
            "weight": Option(value(low=0), 5.0, "Factor of the term in the critic's loss."),
            "weight_G": Option(value(low=0), 0.5, "Factor of the term in the generator's loss."),
            "sigma": Option(Positive, 0.03, "Standard deviation of the step from a latent to a near one."),
        },
    ),
}

AUGMENTATIONS = {
    "none": Part(lambda: None, "Samples as they are."),
    "diffaugment": Part(
        differentiable,
        "DiffAugment: every image is changed at random (Zhao et al. 2020).",
        {
            "policy": Option(
                tuple[Literal["color", "translation", "cutout"], ...],
                tuple(augment.DIFFAUGMENT),
                "The changes, in their order.",
                ("color", "cutout"),
            )
        },
    ),
    "ada": Part(
        adaptive,
        "ADA: images are changed with a probability p that follows the critic's overfitting (Karras et al. 2020).",
        {
            "target": Option(
                Share,
                0.6,
                "p rises while the mean of sign(D(x)) over real samples is above this, else it falls.",
            ),
            "over": Option(Positive, 500_000.0, "Real images shown until p can go from 0 to 1."),
        },
    ),
}

_latent = Option(Count, 128, "Dimension of the latent z.")
_width = Option(Count, 64, "Channels of the layers next to the image; the others are multiples.")
_batch_norm = Option(bool, False, "Batch norm in G.")
_sizes = {"latent": _latent, "width": _width}
_constant = Option(Count, 256, "Channels of all layers.")
_layers = Option(Literal[3, 4], 4, "Stages, of which each halves or doubles the side.")
_numerics = {"latent": _latent._replace(default=256), "width": _width}


def _init(released: str, meaning: str) -> Option:
    return Option(
        Literal[released, "kaiming"],
        released,
        f"First weights. {released}: {meaning}. kaiming: Kaiming normal, as PGN's text says.",
    )


def _code_roles(pair: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    """The networks that share the critic's layers with InfoGAN's code head."""
    return {
        "informed critic": partial(networks.informed_critic, pair),
        "code head": partial(networks.code_head, pair),
    }


NETWORKS: dict[str, NetworkPart] = {
    "mlp": NetworkPart(
        networks.mlp,
        "Fully connected ReLU networks, for points or small images. By default FARGAN's for the plane.",
        {
            "latent": _latent._replace(default=2),
            "width": Option(Count, 64, "Units of a hidden layer."),
            "depth": Option(Count, 3, "Hidden layers."),
        },
        {
            "encoder": networks.mlp_encoder,
            "autoencoder": networks.mlp_autoencoder,
            **_code_roles(networks.mlp),
        },
        conditional=True,
    ),
    "dcgan": NetworkPart(
        networks.dcgan,
        "Convolutions of stride 2 after DCGAN, for sides 8, 16, 32, ...: FARGAN's networks (Tables 5 and 6).",
        {**_sizes, "batch_norm": _batch_norm},
        {
            "encoder": networks.dcgan_encoder,
            "autoencoder": networks.dcgan_autoencoder,
            **_code_roles(networks.dcgan),
        },
        conditional=True,
    ),
    "mlp_dcgan": NetworkPart(
        networks.mlp_dcgan,
        "A fully connected generator against the critic of dcgan (Arjovsky et al. 2017, Figure 7).",
        {
            **_sizes,
            "hidden": Option(Count, 512, "Units of a hidden layer of G."),
            "depth": Option(Count, 4, "Hidden layers of G."),
        },
    ),
    "far_conventional": NetworkPart(
        networks.far_conventional,
        "Two convolutions for each side: FARGAN's conventional networks (Tables 9 and 10).",
        {**_sizes, "image_kernel": Option(Literal[1, 3], 3, "Kernel size of the layers next to the image.")},
    ),
    "far_resnet": NetworkPart(
        networks.far_resnet, "A residual block for each side: FARGAN's ResNet (Tables 7 and 8).", _sizes
    ),
    "far_resnet_deep": NetworkPart(
        networks.far_resnet_deep,
        "Two residual blocks for each side: FARGAN's network for ImageNet-64 (Tables 11 and 12).",
        {**_sizes, "latent": _latent._replace(default=256)},
    ),
    "gn_cnn": NetworkPart(
        networks.gn_cnn,
        "Three stages of stride 2, batch norm in G: GN-GAN's CNN (Wu et al. 2021).",
        {**_sizes, "init": _init("normal", "N(0, .02^2), as in the released code")},
    ),
    "gn_resnet": NetworkPart(
        networks.gn_resnet, "Residual networks, batch norm in G: GN-GAN's ResNet (Wu et al. 2021).", _sizes
    ),
    "numerics_dcgan": NetworkPart(
        networks.numerics_dcgan,
        "DCGANs as in the paper on consensus optimization (Mescheder et al. 2017).",
        {
            **_numerics,
            "layers": _layers,
            "batch_norm": Option(bool, True, "Batch norm in G and D. No gradient penalty goes with it."),
            "constant_filters": Option(
                bool, False, "The same number of channels in all layers, instead of doubling them."
            ),
            "hidden": Option(
                Count | None, None, "Units of one more fully connected layer in D. null: none.", 512
            ),
        },
    ),
    "numerics_conv": NetworkPart(
        networks.numerics_conv,
        "That paper's convolutions with one more fully connected layer, without batch norm (Mescheder et al. 2017).",
        {
            "latent": _latent._replace(default=256),
            "width": _constant._replace(default=64),
            "layers": _layers._replace(default=3),
            "hidden": Option(Count, 512, "Units of the fully connected layer."),
        },
    ),
    "numerics_resnet": NetworkPart(
        networks.numerics_resnet,
        "That paper's ResNet, for sides that are a multiple of 16 (Mescheder et al. 2017).",
        {"latent": _latent._replace(default=256), "width": _constant._replace(default=128)},
    ),
    "biggan32": NetworkPart(
        networks.biggan32,
        "Class-conditional residual networks after BigGAN, as in GN-GAN's code. They need game.conditional=true.",
        {
            "latent": _latent,
            "width": _constant,
            "init": _init("xavier", "Xavier uniform, as in the released code"),
        },
        conditional=True,
    ),
    "r3gan": NetworkPart(
        networks.r3gan,
        "R3GAN's networks: grouped residual blocks without normalization (Huang et al. 2024).",
        {
            "latent": _latent._replace(default=64),
            "width": Option(
                Count, 768, "Channels of the stages up to the side `widest`; half for each side above."
            ),
            "depth": Option(Count, 2, "Residual blocks of a stage."),
            "group": Option(Count, 16, "Channels of a group of the grouped convolutions."),
            "widest": Option(
                Literal[4, 8, 16, 32, 64, 128, 256], 32, "The largest side that has the full `width`."
            ),
        },
    ),
    "own": NetworkPart(
        _given("networks"),
        "Your own modules: those of steadygan.fit, or of the file that --use names.",
        {
            "latent": Option(
                Count | tuple[Count, ...], 128, "Dimension of the latent z, or its shape.", (128, 1, 1)
            ),
            "options": Option(
                Annotated[dict[str, Any], Words("mapping of arguments")],
                {},
                "Arguments of the file's function `networks`, beside the shape.",
                {"width": 32},
            ),
        },
        conditional=True,
    ),
    "dirac": NetworkPart(
        networks.dirac,
        "The Dirac-GAN: G(z) = theta and D(x) = psi x (Mescheder et al. 2018).",
        {
            "theta": Option(Real, 1.0, "Where the generator starts."),
            "psi": Option(Real, 1.0, "Where the discriminator starts."),
        },
    ),
    "point": NetworkPart(
        networks.point,
        "Bare vectors, for the games bilinear and quadratic.",
        {
            player: Option(tuple[Real, ...], (1.0,), f"Where {player} starts.", (1.0, 2.0))
            for player in ("G", "D")
        },
    ),
}

_gamma = Option(value(low=0), 10.0, "Weight of the regulariser.")


def _lookahead(
    game: Game, optimizers: Any, inner: str, n_critic: int, n_generator: int, **given: Any
) -> Rule:
    if inner == "simultaneous" and max(n_critic, n_generator) > 1:
        key = "n_critic" if n_critic > 1 else "n_generator"
        raise UsageError(f"dynamics.{key} is for alternating steps: choose dynamics.inner=alternating")
    rule = partial(dynamics.alternating, n_critic=n_critic, n_generator=n_generator)
    chosen = rule if inner == "alternating" else dynamics.simultaneous
    return dynamics.lookahead(game, optimizers, inner=chosen, **given)


_inner = {
    "n_critic": Option(Count, 1, "Updates of the critic for each update of the generator.", 5),
    "n_generator": Option(
        Count,
        1,
        "Updates of the generator for each update of the critic. Above 1 G is first, unless a game has its own order.",
        5,
    ),
}

DYNAMICS: dict[str, RulePart] = {
    "alternating": RulePart(
        dynamics.alternating,
        "The critic steps first, then G against the new critic (Goodfellow et al. 2014).",
        _inner,
    ),
    "simultaneous": RulePart(dynamics.simultaneous, "All players step at once, from the same point."),
    "consensus": RulePart(
        dynamics.consensus,
        "Consensus optimization: players also descend on the squared norm of all gradients (Mescheder et al. 2017).",
        {
            "gamma": _gamma,
            "debiased": Option(
                bool, False, "Estimate the squared norm without the noise of the batch, sample by sample."
            ),
        },
        second_order=True,
    ),
    "smoothing": RulePart(
        dynamics.smoothing,
        "Consensus optimization's regulariser for the critic alone (Mescheder et al. 2017, supplement).",
        {
            "gamma": _gamma,
            "reading": Option(
                Literal[*READINGS],
                "generator",
                "Regularise the generator's gradient, or those of all players.",
            ),
        },
        second_order=True,
    ),
    "extragradient": RulePart(
        dynamics.extragradient,
        "Looks one step ahead, then steps from here with the gradient found there (Gidel et al. 2019).",
        {
            "past": Option(
                bool,
                False,
                "Look ahead with the last gradient: one gradient per step instead of two (Popov 1980).",
            )
        },
    ),
    "optimistic": RulePart(
        dynamics.optimistic,
        "Optimistic mirror descent: twice the step, less the last one (Daskalakis et al. 2018).",
    ),
    "symplectic": RulePart(
        dynamics.symplectic,
        "Symplectic gradient adjustment against the game's rotation (Balduzzi et al. 2018).",
        {
            "weight": Option(value(low=0), 1.0, "Factor lambda of the adjustment."),
            "align": Option(
                bool,
                True,
                "Choose the adjustment's sign so that stable points attract and unstable ones repel.",
            ),
        },
        second_order=True,
    ),
    "lookahead": RulePart(
        _lookahead,
        "After every few steps of another rule, goes back part of the way (Chavdarova et al. 2021).",
        {
            "steps": Option(Count, 5, "Steps of the inner rule between two returns."),
            "alpha": Option(value(low=0, high=1), 0.5, "Share of the way that is kept."),
            "inner": Option(Literal["alternating", "simultaneous"], "alternating", "The inner rule."),
            **_inner,
        },
    ),
}

_lr = {"lr": Option(value(low=0), ..., "Learning rate.", 0.001)}

_adam = {
    **_lr,
    "betas": Option(
        tuple[Share, Share],
        (0.9, 0.999),
        "Decay of the averages of gradients and of their squares.",
        (0.0, 0.99),
    ),
    "eps": Option(Positive, 1e-8, "Added to the root of the second average.", 1e-6),
}
_decay = Option(value(low=0), 0.01, "Share of a weight that goes, times lr.", 0.1)

OPTIMIZERS = {
    "sgd": OptimizerPart(
        optim.sgd,
        "Gradient descent.",
        {**_lr, "momentum": Option(Share, 0.0, "Share of the last step that is kept.", 0.9)},
    ),
    "rmsprop": OptimizerPart(
        optim.rmsprop,
        "RMSProp as torch has it.",
        {
            **_lr,
            "alpha": Option(Share, 0.99, "Decay of the average of squared gradients.", 0.9),
            "eps": Option(Positive, 1e-8, "Added to the root of that average.", 1e-6),
        },
    ),
    "tf_rmsprop": OptimizerPart(
        optim.tf_rmsprop,
        "RMSProp as TensorFlow 1 has it, which starts with smaller steps.",
        {
            **_lr,
            "decay": Option(Share, 0.9, "Decay of the average of squared gradients.", 0.99),
            "eps": Option(Positive, 1e-10, "Added to that average, inside the root.", 1e-6),
        },
    ),
    "adam": OptimizerPart(optim.adam, "Adam (Kingma and Ba 2015).", _adam),
    "adamw": OptimizerPart(
        optim.adamw,
        "Adam with decoupled weight decay (Loshchilov and Hutter 2019).",
        {**_adam, "weight_decay": _decay},
    ),
    "muon": OptimizerPart(
        optim.muon,
        "Muon for matrices and kernels (Jordan 2024); AdamW for vectors, biases and norms.",
        {
            "lr": _lr["lr"]._replace(meaning="Learning rate of matrices and kernels.", example=0.02),
            "momentum": Option(
                Share, 0.95, "Share of the averaged gradient that is kept, in Nesterov's form.", 0.9
            ),
            "weight_decay": _decay._replace(default=0.1, example=0.0),
            "adamw_lr": Option(
                value(low=0), 3e-4, "Learning rate of AdamW, for all other parameters.", 0.001
            ),
            "betas": _adam["betas"]._replace(meaning="Those of AdamW."),
            "eps": _adam["eps"]._replace(meaning="That of AdamW."),
        },
        shaped=True,
    ),
}

_loss = {
    "loss": Option(
        choice(LOSSES, default="non_saturating"), "non_saturating", "How logits become losses.", "hinge"
    )
}

_codes = ("categorical", "continuous")
_autoencoded = {"G": "generator", "D": "autoencoder"}

GAMES: dict[str, GamePart] = {
    "gan": GamePart(
        gan,
        "Generator G against critic D (Goodfellow et al. 2014).",
        {
            **_loss,
            "conditional": Option(bool, False, "G and D also see the class. It needs labelled data."),
            "batch_G": Option(
                Count | None, None, "Latents in an update of G. null: as many as in one of D.", 128
            ),
        },
        constrained=True,
    ),
    "infogan": GamePart(
        infogan,
        "InfoGAN: a third player Q reads codes in the latent from the samples (Chen et al. 2016).",
        {
            **_loss,
            "categorical": Option(tuple[Classes, ...], (10,), "Classes of each categorical code.", (10, 3)),
            "continuous": Option(Natural, 2, "How many continuous codes, uniform on [-1, 1]."),
            "weight": Option(value(low=0), 1.0, "Factor lambda of the mutual information."),
        },
        {"G": "generator", "D": "informed critic", "Q": "code head"},
        constrained=True,
        latent_law=networks.Codes,
        given={"generator": _codes, "code head": _codes},
    ),
    "bilinear": GamePart(
        bilinear,
        "The saddle of phi and theta's inner product, on which simultaneous steps diverge. For networks=point.",
        bare=True,
    ),
    "quadratic": GamePart(
        lambda eigenvalues, skew, **nets: quadratic(**nets, matrix=blocks(eigenvalues, skew)),
        "Two vectors with quadratic losses, whose vector field has the Jacobian of your choice. For networks=point.",
        {
            "eigenvalues": Option(
                tuple[tuple[Real, Real], ...],
                ((-1.0, 3.0),),
                "The Jacobian's eigenvalues a +- ib, as [a, b]. Players have one number for each pair.",
                ((-0.5, 1.0),),
            ),
            "skew": Option(Positive, 1.0, "Asymmetry of the players' coupling. 1: a zero-sum game."),
        },
        bare=True,
    ),
    "reg_gan": GamePart(
        reg_gan,
        "Reg-GAN: an encoder E finds the latent of each real sample, and G has to reconstruct it (Che et al. 2017).",
        {
            **_loss,
            "weight_distance": Option(
                value(low=0), 0.2, "Factor lambda 1 of the reconstruction's squared distance."
            ),
            "weight_mode": Option(value(low=0), 0.4, "Factor lambda 2 of the term -log D(reconstruction)."),
            "paper_sign": Option(
                bool,
                False,
                "Use the sign that the paper prints for that term, which rewards what D calls fake.",
            ),
        },
        {"G": "generator", "D": "critic", "E": "encoder"},
        constrained=True,
    ),
    "mdgan": GamePart(
        mdgan,
        "MDGAN: D1 and an encoder bring G's samples onto the data, D2 spreads them over it (Che et al. 2017).",
        {"weight_mode": Option(value(low=0), 0.01, "Factor lambda of the term -log D1(reconstruction).")},
        {"D1": "critic", "G": "generator", "E": "encoder", "D2": "critic"},
    ),
    "ebgan": GamePart(
        ebgan,
        "EBGAN: the critic is an autoencoder, whose reconstruction error is a sample's energy (Zhao et al. 2017).",
        {
            "margin": Option(
                value(above=0), ..., "Energy above which a generated sample no longer counts for D.", 10.0
            ),
            "pull_away": Option(
                value(low=0), 0.0, "Factor of the term that keeps generated samples apart.", 0.1
            ),
        },
        _autoencoded,
    ),
    "began": GamePart(
        began,
        "BEGAN: an autoencoder as critic, and a control that keeps its two losses in a ratio (Berthelot et al. 2017).",
        {
            "gamma": Option(
                value(low=0, high=1), 0.5, "The ratio: loss of generated samples over that of real ones."
            ),
            "rate": Option(value(low=0), 0.001, "How fast the control moves (lambda_k)."),
            "eta": Option(value(low=1), 1.0, "Power of the reconstruction error.", 2.0),
        },
        _autoencoded,
        latent_law=networks.Uniform,
    ),
}
"""bilinear and quadratic are of bare vectors (networks.name=point) and read no data."""

CRITICS = {"critic", "informed critic"}
"""The roles whose networks answer with logits. They take noise in their hidden layers and normalized weights."""
