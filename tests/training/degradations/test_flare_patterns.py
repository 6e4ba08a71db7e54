import numpy as np
import pytest

from vidrestore.training.degradations.flare_patterns import FlareBank, render_flare


@pytest.mark.parametrize("size", [64, 256])
def test_a_flare_is_bright_in_the_middle_and_fades_to_nothing(size):
    for seed in range(6):
        flare, core = render_flare(np.random.default_rng(seed), size)
        assert flare.shape == core.shape == (size, size, 3)
        assert flare.dtype == core.dtype == np.float32
        assert np.isfinite(flare).all()
        assert flare.min() >= 0
        assert flare.mean() == pytest.approx(1.0, rel=1e-3)
        rim = np.concatenate([flare[0], flare[-1], flare[:, 0], flare[:, -1]])
        assert rim.max() < 0.05
        middle = slice(size // 2 - size // 16, size // 2 + size // 16)
        assert flare[middle, middle].mean() > 5
        assert 0 < core.sum() / 3 < 0.01 * size * size


def test_flares_and_banks_are_repeatable_and_varied():
    bank, again = (FlareBank(np.random.default_rng(0), count=8, size=128) for _ in range(2))
    assert len(again) == 8
    assert np.array_equal(again.flares, bank.flares)
    assert np.array_equal(again.ghosts, bank.ghosts)
    assert len({flare.tobytes() for flare in bank.flares}) == 8


def test_an_empty_bank_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        FlareBank(np.random.default_rng(0), count=0)
