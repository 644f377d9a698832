"""Which files are footage, by their endings: what is read, and what lies beside footage in a folder by right."""

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
"""Pictures that are not read, but that somebody may take for footage."""
_VIDEOS = frozenset(
    f".{name}" for name in ("rm", "rmvb", "swf", "braw", "r3d", "ari", "wtv", "bik", "dav", "amv", "wrf", "arf", "avs")
)
"""Videos that are not read."""
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
"""Texts, subtitles, sound, cameras' notes, arrays and models: nobody takes them for footage."""
_TEXTS = frozenset(["readme", "license", "licence", "copying", "notice", "authors", "changelog", "makefile"])


def unread_kind(path: Path) -> str | None:
    """Why a picture or video of this ending is not read; None for the kinds that are, and for anything else."""
    ending = path.suffix.lower()
    if ending in _PICTURES:
        return f"pictures ending in {ending} are not read; save it as PNG or JPEG"
    return f"videos ending in {ending} are not read; convert it to .mp4 or .mkv" if ending in _VIDEOS else None


def why_left_out(path: Path) -> str | None:
    """Why a file that was found in a folder is not used; None where it is, or is none that could be meant as footage.

    Raises:
        OSError: the file system does not tell.
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
    return unread_kind(path) or f"{unread}; convert it, or move it to another folder"


def refuse_remote(path: str | Path) -> None:
    """Refuses the address of something that is not on this machine.

    Raises:
        V2VError: the path is a URL.
    """
    scheme, colon, _ = str(path).partition(":/")  # Path makes one slash of two
    if colon and scheme.isalnum() and len(scheme) > 1:
        raise V2VError(
            "url-unsupported",
            f"{path} is a URL, and footage is read from local files.",
            "Download it first; or to render it, pipe it: ffmpeg -i URL -f matroska - | v2v render - TARGET.",
        )
