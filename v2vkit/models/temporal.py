"""Windows of frames for the video discriminators."""

Window = tuple[int, ...]


def temporal_windows(
    num_seen: int, num_new: int, *, num_frames: int = 3, num_scales: int = 3, sparse: bool = False
) -> list[list[Window]]:
    """The windows of every temporal scale after one chunk of a clip.

    Scale s sees K frames at a spacing of K^s. The first window ends at the newest frame, the others K, 2 K ... frames
    before it, as long as that end is a new frame; older frames are (detached) history. A scale has no window until
    enough frames have been generated.

    Args:
        num_seen: frames of the clip generated so far, this chunk included.
        num_new: frames of this chunk.
        num_frames: K.
        num_scales: temporal scales.
        sparse: only windows that do not overlap within their scale, for any chunk length: they end at K^(s+1) - 1,
            2 K^(s+1) - 1 ...

    Returns:
        Per scale a list of windows, the newest first; each is K frame numbers of the clip, oldest first.

    Source: vid2vid supplementary (subsampling by K per scale); order and steps as published (specification 1.7).
    """
    scales: list[list[Window]] = []
    for scale in range(num_scales):
        spacing = num_frames**scale
        reach = (num_frames - 1) * spacing
        first_new = num_seen - num_new
        if sparse:
            period = num_frames * spacing
            ends = [end for end in range(num_seen - 1, first_new - 1, -1) if (end + 1) % period == 0]
        else:
            ends = list(range(num_seen - 1, first_new - 1, -num_frames))
        scales.append([tuple(range(end - reach, end + 1, spacing)) for end in ends if end >= reach])
    return scales
