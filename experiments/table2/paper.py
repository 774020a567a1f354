"""The papers' own rows."""


def sitting(options):
    pass
