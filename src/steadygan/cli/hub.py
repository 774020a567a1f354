"""The command that publishes a run's generator on the Hugging Face Hub."""

from typing import Annotated

import typer

from steadygan.cli.analysis import OneMember, Raw, RunFolder, Use, brought, console

__all__ = ["push"]


def push(
    folder: RunFolder,
    name: Annotated[str, typer.Argument(metavar="USER/NAME", help="Repository on the Hugging Face Hub.")],
    private: Annotated[
        bool, typer.Option("--private", help="Make a new repository private. Default: public.")
    ] = False,
    message: Annotated[
        str | None, typer.Option(help="Message of the commit. Default: names the run.")
    ] = None,
    member: OneMember = 0,
    raw: Raw = False,
    use: Use = None,
) -> None:
    """Publish a run's generator on the Hugging Face Hub.

    The repository gets the plain export, the configuration, a sample grid, and a model card with scores and protocol.
    """
    from steadygan.runs.hub import push as publish
    from steadygan.runs.hub.client import check_name

    check_name(name)  # before anything that the run folder lacks
    own = brought(use, folder)
    where = publish(folder, name, private=private, message=message, member=member, average=not raw, use=own)
    console.print(f"published: {where}", soft_wrap=True, markup=False)
    console.print(f'load it with steadygan.load("{name}")', soft_wrap=True, markup=False)
