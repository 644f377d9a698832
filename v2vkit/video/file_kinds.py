"""File name endings: videos and images that are read, ones that are not, and files that are no footage at all."""

from pathlib import Path

from v2vkit.errors import V2VError

VIDEO_ENDINGS = frozenset(
    f".{name}"
    for name in (
        *("mp4", "mov", "m4v", "qt", "f4v", "3gp", "3g2", "mkv", "mk3d", "webm", "avi", "divx", "insv"),
        *("mpg", "mpeg", "mpe", "m1v", "m2v", "mpv", "vob", "mod", "tod", "ts", "mts", "m2ts", "m2t"),
        *("wmv", "asf", "flv", "gif", "apng", "ogv", "ogm", "mxf", "dv", "nut", "ivf", "y4m", "mjpeg", "mjpg"),
        *("264", "h264", "avc", "265", "h265", "hevc"),
    )
)
_IMAGE_KINDS = {
    "png": ("png",),
    "jpg": ("jpg", "jpeg", "jpe", "jfif"),
    "bmp": ("bmp", "dib"),
    "webp": ("webp",),
    "tif": ("tif", "tiff"),
    "ppm": ("ppm", "pgm", "pbm", "pnm"),
    "tga": ("tga",),
    "jp2": ("jp2", "j2k", "jpx", "jpf", "j2c", "jpc"),
    "avif": ("avif",),
}
IMAGE_KINDS = {f".{ending}": kind for kind, endings in _IMAGE_KINDS.items() for ending in endings}
"""Ending -> kind of image; endings of one kind may be mixed in a sequence."""
IMAGE_ENDINGS = frozenset(IMAGE_KINDS)

_PICTURES = frozenset(
    f".{name}"
    for name in (
        *("heic", "heif", "hif", "psd", "svg", "exr", "hdr", "dpx", "cin", "sgi", "pcx", "ico", "qoi", "jxl", "xcf"),
        *("dng", "cr2", "cr3", "nef", "arw", "orf", "rw2", "raf", "pef", "raw"),
    )
)
"""Image formats that are not read and that users may give as footage."""
_VIDEOS = frozenset(
    f".{name}" for name in ("rm", "rmvb", "swf", "braw", "r3d", "ari", "wtv", "bik", "dav", "amv", "wrf", "arf", "avs")
)
"""Video formats that are not read."""
_BESIDE = frozenset(
    f".{name}"
    for name in (
        *("txt", "md", "rst", "csv", "tsv", "json", "jsonl", "xml", "yaml", "yml", "toml", "ini", "cfg", "conf", "log"),
        *("html", "htm", "pdf", "doc", "docx", "rtf", "bib", "tex", "nfo", "url", "lnk", "db", "lock", "bak"),
        *("md5", "sha1", "sha256", "sfv", "py", "ipynb", "sh", "bat", "m"),
        *("srt", "vtt", "ass", "ssa", "sub", "idx", "xmp", "aae", "thm", "lrv", "cpi", "bdm", "mpl", "modd", "moff"),
        *("wav", "mp3", "m4a", "aac", "flac", "ogg", "oga", "opus", "wma", "aif", "aiff"),
        *("npy", "npz", "pkl", "mat", "h5", "hdf5", "pt", "pth", "safetensors", "onnx", "ckpt", "flo", "pfm"),
    )
)
"""Text, subtitles, audio, camera metadata, arrays and models: ignored without a message."""
_TEXTS = frozenset(["readme", "license", "licence", "copying", "notice", "authors", "changelog", "makefile"])


def why_unreadable(path: Path) -> str | None:
    """Why a picture or video of this ending is not read; None for those that are, and for other files."""
    ending = path.suffix.lower()
    if ending in _PICTURES:
        return f"pictures ending in {ending} are not read; save it as PNG or JPEG"
    return f"videos ending in {ending} are not read; convert it to .mp4 or .mkv" if ending in _VIDEOS else None


def why_unused(path: Path) -> str | None:
    """Why a file in a folder is not used; None if it is used, or is obviously no footage.

    Raises:
        OSError: the file cannot be examined.
    """
    ending = path.suffix.lower()
    if ending in _BESIDE or path.name.lower() in _TEXTS:
        return None
    if path.is_symlink() and not path.exists():
        return f"it is a link to {path.readlink()}, which does not exist"
    if not path.is_file():
        return "it is not a regular file"
    if ending in VIDEO_ENDINGS or ending in IMAGE_ENDINGS:
        return None
    unread = f"files ending in {ending} are not read" if ending else "files without an ending are not read"
    return why_unreadable(path) or f"{unread}; convert it, or move it to another folder"


def refuse_remote(path: str | Path) -> None:
    """Refuses URLs.

    Raises:
        V2VError: the path is a URL.
    """
    scheme, colon, _ = str(path).partition(":/")  # Path turns two slashes into one
    if colon and scheme.isalnum() and len(scheme) > 1:
        raise V2VError(
            "url-unsupported",
            f"{path} is a URL, and footage is read from local files.",
            "Download it first; or to render it, pipe it: ffmpeg -i URL -f matroska - | v2v render - TARGET.",
        )
