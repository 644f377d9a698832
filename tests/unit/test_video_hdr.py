"""HDR video comes out as SDR: values of ITU-R BT.2100, BT.2408 and BT.1886 worked out by hand."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.unit.ingesting import ingest
from tests.unit.video_files import moving_frames, write_file
from v2vkit.video.decode import decode
from v2vkit.video.hdr import tone_mapped
from v2vkit.video.probe import probe


def pq(light: np.ndarray | float) -> np.ndarray:
    """The signal of light as a multiple of 203 cd/m2 (ITU-R BT.2100 table 4, inverse EOTF)."""
    y = (np.asarray(light, float) * 203 / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375


def codes(signal: np.ndarray | list[float]) -> np.ndarray:
    return np.round(np.asarray(signal, float) * 65535).astype(np.uint16).reshape(1, -1, 3)


def grey_video(path: Path, signal: float, transfer: int, count: int = 3) -> Path:
    """Frames of one grey, 10 bits, limited range, tagged BT.2020."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace, context.color_range = transfer, 9, 9, 1
        for i in range(count):
            frame = av.VideoFrame(64, 48, "yuv420p10le")
            for plane, value in zip(frame.planes, (round(64 + 876 * signal), 512, 512), strict=True):
                plane.update(np.full((plane.height, plane.line_size // 2), value, np.uint16).tobytes())
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


# HLG 0.5 is 1/12 of the peak in the scene, 50.7 cd/m2 on a display of 1000: 0.2497 of white, signal 0.561.
@pytest.mark.parametrize(
    ("signal", "transfer", "expected"),
    [(0.5, 18, 143), (0.7, 18, 225), (0.0, 18, 0), (1.0, 18, 255), (float(pq(0.5)), 16, 191), (float(pq(5)), 16, 255)],
)
def test_greys_of_hlg_and_pq_are_those_of_an_sdr_display(
    tmp_path: Path, signal: float, transfer: int, expected: int
) -> None:
    path = grey_video(tmp_path / "hdr.mp4", signal, transfer)
    (first, *_) = decode(path)
    assert np.abs(first.image.astype(int) - expected).max() <= 2
    assert np.ptp(first.image, axis=2).max() <= 1
    assert probe(path).remarks == (f"HDR video ({'HLG' if transfer == 18 else 'PQ'}) is tone-mapped to SDR (BT.709).",)


def test_highlights_stay_distinguishable_and_never_get_darker() -> None:
    light = np.linspace(0, 4.9, 200)
    values = tone_mapped(codes(np.repeat(pq(light)[:, None], 3, axis=1)), "PQ")[0, :, 0].astype(int)
    assert (np.diff(values) >= 0).all()
    white, bright = values[np.searchsorted(light, 1)], values[np.searchsorted(light, 3)]
    assert 235 <= white < bright < 255


def test_colours_of_bt709_keep_their_hue() -> None:
    # Linear BT.709 red of half the reference white, in BT.2020 (ITU-R BT.2087, the matrix's first column).
    red = 0.5 * np.array([0.6274, 0.0691, 0.0164])
    found = tone_mapped(codes(pq(red)), "PQ")[0, 0]
    assert abs(int(found[0]) - 191) <= 1
    assert found[1:].max() <= 6  # the matrices have four digits
    assert tone_mapped(codes(pq([0.5, 0, 0])), "PQ", primaries=1)[0, 0].tolist() == [191, 0, 0]


def test_sdr_is_unchanged_and_ingest_reports_hdr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sdr = write_file(tmp_path / "sdr.mp4", moving_frames(8), pix_fmt="yuv420p10le")
    assert probe(sdr).remarks == ()
    ingest(tmp_path / "work", sdr, grey_video(tmp_path / "hdr.mp4", 0.5, 18, count=8))
    assert f"{tmp_path / 'hdr.mp4'}: HDR video (HLG) is tone-mapped" in capsys.readouterr().err
