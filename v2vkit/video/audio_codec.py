"""Converting audio that players of a container do not take: decoded, and encoded as AAC."""

from av.audio.stream import AudioStream
from av.codec import Codec
from av.container import OutputContainer

LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
"""Channels -> what FFmpeg takes so many for where a file (AVI, Matroska with PCM) says nothing else."""
_CODEC = "aac"
_BITS = 128_000
"""Per second and channel: more than what most people hear a difference at."""


def layout_of(stream: AudioStream) -> str:
    """The places of its channels; the usual ones for so many where they are not known."""
    layout = stream.codec_context.layout
    unknown = layout.name == f"{layout.nb_channels} channels"
    return LAYOUTS.get(layout.nb_channels, layout.name) if unknown else layout.name


def can_convert(stream: AudioStream) -> bool:
    """Whether there is a decoder for a stream, and AAC has its channels."""
    return stream.codec_context is not None and stream.codec_context.layout.nb_channels in LAYOUTS


def add_encoder(target: OutputContainer, stream: AudioStream) -> AudioStream:
    """A stream of AAC in the target, with the channels of another one and its rate or the nearest that AAC has."""
    rates = Codec(_CODEC, "w").audio_rates or [stream.codec_context.sample_rate]
    rate = min(rates, key=lambda each: abs(each - stream.codec_context.sample_rate))
    encoder = target.add_stream(_CODEC, rate=rate)
    assert isinstance(encoder, AudioStream)
    encoder.codec_context.layout = layout_of(stream)
    encoder.codec_context.bit_rate = _BITS * stream.codec_context.layout.nb_channels
    return encoder
