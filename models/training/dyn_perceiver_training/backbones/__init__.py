"""CNN backbones, each cut in a stem and four stages, by the name they have in `<backbone>_perceiver_t<N>`."""

from . import efficientnet_lite, mobilenet_v3, regnet, resnet

FAMILIES = (efficientnet_lite, mobilenet_v3, regnet, resnet)


def build(name):
    """The pieces of the backbone of that name: `modules` by attribute, `forward` per piece, `channels`, `head`."""
    for family in FAMILIES:
        pieces = family.parse(name)
        if pieces is not None:
            return pieces
    known = ", ".join(name for family in FAMILIES for name in family.KNOWN)
    raise ValueError(f"no backbone is called '{name}': expected one of {known}")
