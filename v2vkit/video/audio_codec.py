"""Conversion to AAC of audio that players of a container do not accept."""

from av.audio.stream import AudioStream
from av.codec import Codec
from av.container import OutputContainer

LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
"""Number of channels -> FFmpeg's default layout, for files that state none (AVI, Matroska with PCM)."""
_CODEC = "aac"
_BITS = 128_000
"""Bits per second and channel; transparent to most listeners."""


def layout_of(stream: AudioStream) -> str:
    """The channel layout of a stream; the default one for its number of channels if it states none."""
    layout = stream.codec_context.layout
    unknown = layout.name == f"{layout.nb_channels} channels"
    return LAYOUTS.get(layout.nb_channels, layout.name) if unknown else layout.name


def can_convert(stream: AudioStream) -> bool:
    """Whether a stream can be decoded, and AAC supports its number of channels."""
    return stream.codec_context is not None and stream.codec_context.layout.nb_channels in LAYOUTS


def add_encoder(target: OutputContainer, stream: AudioStream) -> AudioStream:
    """Adds an AAC stream to the target with the channels of `stream` and the nearest sample rate that AAC supports."""
    rates = Codec(_CODEC, "w").audio_rates or [stream.codec_context.sample_rate]
    rate = min(rates, key=lambda each: abs(each - stream.codec_context.sample_rate))
    encoder = target.add_stream(_CODEC, rate=rate)
    assert isinstance(encoder, AudioStream)
    encoder.codec_context.layout = layout_of(stream)
    encoder.codec_context.bit_rate = _BITS * stream.codec_context.layout.nb_channels
    return encoder
