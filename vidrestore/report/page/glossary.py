"""The words and abbreviations of the page, explained to whoever has never met them."""

from __future__ import annotations

__all__ = ["GLOSSARY"]

GLOSSARY = (
    ("in, out", "The source and the video that was made of it."),
    ("frame", "One picture of the video, counted from 0."),
    ("0:04.20", "Minutes, seconds and hundredths since the beginning."),
    ("level", "A step of brightness or colour: 8 bits hold 256 of them, 0 is black and 255 the brightest."),
    ("fps", "Frames a second."),
    ("engine", "A trained network, or a fixed method, that does one task."),
    ("tier", "fast: small networks for real time on a plain processor (CPU). best: larger ones, for a graphics card (GPU)."),
    ("weights", "What a network has learned, as numbers in a file."),
    ("detail made up", "The network draws what is likely, not what was recorded: a sign or a face may be wrong."),
    ("SHA-256", "A checksum: two files with the same one are the same to the last bit."),
    ("warping error", "Frames are laid over each other along the motion; what still differs is noise and flicker. Samples"
     " count from 0 to 1, squared. After Lai et al., 2018. A blurred video has a low one as well."),
    ("warping error, 0.8×", "Of the output, divided by that of the input at the same brightness: below 1 it is steadier."),
    ("codec", "How pictures or sound are compressed: h264, hevc (H.265), vp9, av1, aac and others."),
    ("container", "The kind of file that holds them: mp4, mov, mkv (Matroska), webm, ts and others."),
    ("crf", "Constant rate factor: the quality that is asked of a codec; lower is better, and makes a larger file."),
    ("matrix, range, primaries, transfer", "How the numbers in a file become colours on a screen."),
    ("packet", "A piece of a stream as it lies in the file: a picture, or some sound."),
    ("pts, timestamp", "Presentation timestamp: when a frame is to be shown."),
    ("concealed", "A damaged frame that was replaced by the decoder's best guess."),
    ("KiB, MiB", "1024 bytes, and 1024 times as many."),
    ("VP9, WebM, WebP", "Open formats for video and pictures, in which this page holds its own."),
)  # fmt: skip
