"""Tone mapping of HDR pictures (HLG and PQ of ITU-R BT.2100) to SDR (ITU-R BT.709).

Display-referred, after ITU-R BT.2408: light of a reference display in cd/m2, whose reference white of 203 cd/m2 maps
close to SDR white. FFmpeg's own conversion (libswscale) clips everything above that white, and spends seconds on a
table whenever a file is opened.
"""

from functools import lru_cache
from typing import Literal

import av
import numpy as np
from numpy.typing import NDArray

Transfer = Literal["HLG", "PQ"]
_TRANSFERS: dict[int, Transfer] = {18: "HLG", 16: "PQ"}  # ITU-T H.273, table 3
_WHITE = 203.0  # cd/m2 of reference white, ITU-R BT.2408
_PEAK = 1000.0 / _WHITE  # peak of the HLG reference display, ITU-R BT.2100 table 5; brighter light is clipped
_KNEE = 0.75  # share of reference white below which light is unchanged
_LUMA = np.array([0.2627, 0.6780, 0.0593], np.float32)  # ITU-R BT.2100 table 4
_GAMMA = 2.4  # ITU-R BT.1886
_ROWS = 64  # rows per step, small enough for the processor's cache
# Linear RGB of other primaries (ITU-T H.273, table 2: 9 BT.2020, 12 P3 with D65) as that of BT.709: ITU-R BT.2407,
# section 2, and the same derivation from the chromaticities of SMPTE RP 431-2.
_TO_BT709 = {
    9: np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32),
    12: np.array([[1.2249, -0.2249, 0.0], [-0.0420, 1.0420, 0.0], [-0.0196, -0.0786, 1.0983]], np.float32),
    1: np.eye(3, dtype=np.float32),
}


def transfer_of(frame: av.VideoFrame) -> Transfer | None:
    """The HDR transfer function in a frame's tags; None = SDR."""
    return _TRANSFERS.get(int(frame.color_trc))


def tone_mapped(codes: NDArray[np.uint16], transfer: Transfer, *, primaries: int = 9) -> NDArray[np.uint8]:
    """An HDR picture tone-mapped to SDR.

    Args:
        codes: R'G'B' uint16 [H, W, 3], full range.
        transfer: its transfer function.
        primaries: code of ITU-T H.273, table 2; unknown codes are treated as BT.2020.

    Returns:
        R'G'B' uint8 [H, W, 3], BT.709 primaries, for a display of gamma 2.4 (BT.1886).
    """
    matrix = _TO_BT709.get(primaries, _TO_BT709[9]).T
    result = np.empty(codes.shape, np.uint8)
    for top in range(0, len(codes), _ROWS):
        light = _light(codes[top : top + _ROWS], transfer) @ matrix
        np.maximum(light, 0, out=light)  # colours outside the BT.709 gamut
        peak = light.max(axis=2, keepdims=True)
        light *= _compressed(peak) / np.maximum(peak, 1e-6)  # one factor for all three keeps the hue
        np.clip(light, 0, 1, out=light)
        # The table is indexed by the square root: near black the signal rises too steeply for a table of light.
        result[top : top + _ROWS] = _signal()[(np.sqrt(light) * 65535 + 0.5).astype(np.uint16)]
    return result


def _light(codes: NDArray[np.uint16], transfer: Transfer) -> NDArray[np.float32]:
    """Light of the reference display as a multiple of reference white, float32 [h, W, 3]."""
    light = _decoded(transfer)[codes]
    if transfer == "HLG":  # the OOTF of a display of 1000 cd/m2, ITU-R BT.2100 table 5
        light *= _PEAK * np.power(light @ _LUMA, np.float32(0.2))[..., None]
    return light


@lru_cache(maxsize=2)
def _decoded(transfer: Transfer) -> NDArray[np.float32]:
    """Table over 16-bit codes: scene light in [0, 1] (HLG), or light as a multiple of reference white (PQ)."""
    x = np.arange(65536) / 65535
    if transfer == "HLG":  # ITU-R BT.2100 table 5, inverse OETF
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        return np.where(x <= 0.5, x**2 / 3, (np.exp((x - c) / a) + b) / 12).astype(np.float32)
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128  # table 4, EOTF
    root = x ** (1 / m2)
    nits = 10000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    return (nits / _WHITE).astype(np.float32)


def _compressed(light: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compresses light up to the peak into [0, 1]: unchanged up to the knee, above it by equation 4 of Reinhard et al.,
    "Photographic Tone Reproduction for Digital Images" (SIGGRAPH 2002)."""
    over = np.maximum(light - _KNEE, 0) / (1 - _KNEE)
    most = (_PEAK - _KNEE) / (1 - _KNEE)
    bent = over * (1 + over / most**2) / (1 + over)
    return np.minimum(np.minimum(light, _KNEE) + (1 - _KNEE) * bent, 1)


@lru_cache(maxsize=1)
def _signal() -> NDArray[np.uint8]:
    """Table over the square root of light in 65536 steps: the 8-bit signal."""
    root = np.arange(65536) / 65535
    return np.round(255 * root ** (2 / _GAMMA)).astype(np.uint8)
