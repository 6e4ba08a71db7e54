import numpy as np
import pytest

from vidrestore.training.degradations import common


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_srgb_and_back_changes_nothing_that_eight_bits_see(dtype):
    srgb = np.linspace(0, 1, 256 * 3, dtype=dtype).reshape(16, 16, 3)
    linear = common.srgb_to_linear(srgb)
    assert linear.dtype == dtype
    assert common.linear_to_srgb(linear).dtype == dtype
    assert np.abs(common.linear_to_srgb(linear) - srgb).max() < 1e-5


def test_srgb_at_known_points():
    values = common.srgb_to_linear(np.array([0.0, 0.5, 1.0]))
    assert values == pytest.approx([0.0, 0.21404114, 1.0])
    assert common.linear_to_srgb(np.array([-1.0, 2.0])) == pytest.approx([0.0, 1.0])  # clipped as a sensor does


def test_a_uint8_picture_is_refused_rather_than_darkened():
    with pytest.raises(ValueError, match="uint8"):
        common.as_picture(np.zeros((4, 4, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match="H, W, 3"):
        common.as_picture(np.zeros((4, 4), dtype=np.float32))


@pytest.mark.parametrize("grain", [0.0, 0.6])
def test_noise_has_the_promised_spread(grain):
    rng = np.random.default_rng(0)
    for light in (0.0, 0.2):
        noise = common.sensor_noise(rng, np.full((256, 256, 3), light), shot=1e-3, read=2e-3, grain=grain)
        expected = np.sqrt(1e-3 * light + 4e-6)
        assert abs(noise.mean()) < 0.05 * expected
        assert noise.std() == pytest.approx(expected, rel=0.12)


def test_block_compression_gets_worse_with_lower_quality_and_keeps_flat_pictures():
    rng = np.random.default_rng(1)
    picture = np.clip(common.smooth_field(rng, 61, 83)[..., None] + rng.normal(0, 0.05, (61, 83, 3)), 0, 1).astype(np.float32)
    results = [common.block_compress(picture, quality) for quality in (95, 60, 20)]
    values = [common.psnr(result, picture) for result in results]
    assert values == sorted(values, reverse=True)
    assert all(result.shape == picture.shape and result.dtype == np.float32 for result in results)
    flat = np.full((40, 40, 3), 0.5)
    assert np.abs(common.block_compress(flat, 90) - flat).max() < 2 / 255


def test_block_compression_matches_a_real_jpeg_encoder():
    import cv2

    rng = np.random.default_rng(2)
    smooth = np.stack([common.smooth_field(rng, 128, 128, 12) for _ in range(3)], axis=-1)
    coded = cv2.imencode(".jpg", np.rint(smooth[..., ::-1] * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 50])[1]
    jpeg = cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1] / 255.0
    ours = common.block_compress(smooth, 50)
    assert common.psnr(ours, smooth) == pytest.approx(common.psnr(jpeg, smooth), abs=1.0)


def test_psnr():
    assert common.psnr(np.zeros(4), np.full(4, 0.1)) == pytest.approx(20.0)
    assert common.psnr(np.ones(4), np.ones(4)) == float("inf")


def test_muted_noise_keeps_its_luminance():
    noise = np.random.default_rng(0).normal(0, 0.1, (40, 40, 3)).astype(np.float32)
    muted = common.mute_chroma(noise, 0.25)
    assert muted.dtype == np.float32
    assert np.allclose(common.luminance(muted), common.luminance(noise), atol=1e-6)
    assert np.allclose(muted[..., 0] - muted[..., 2], 0.25 * (noise[..., 0] - noise[..., 2]), atol=1e-6)
    assert np.allclose(common.mute_chroma(noise, 1.0), noise, atol=1e-6)
