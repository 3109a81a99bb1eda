"""Networks that torch cannot train in channels_last are found out."""

import pytest

from medai.model.layout import takes_channels_last
from medai.model.network import residual_small


@pytest.mark.parametrize(("channels", "takes"), [(4, False), (6, False), (8, True), (16, True)])
def test_a_strided_short_cut_of_few_channels_does_without_channels_last(channels: int, takes: bool) -> None:
    assert takes_channels_last(residual_small(3, 1, 28, 28, channels=channels)) is takes
