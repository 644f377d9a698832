"""A face of our own making as 68 landmarks, a photographed one, and a tiny dlib predictor, for the tests of faces."""

from pathlib import Path

import numpy as np
from skimage import data

PHOTO_FACE = (224.0, 118.0)  # where the face of the photograph is, roughly: (x, y)


def _ellipse(center: tuple[float, float], radii: tuple[float, float], degrees: list[float]) -> list[list[float]]:
    """Points on an ellipse; 0 degrees points left in the image, 90 down, 180 right."""
    angles = np.deg2rad(degrees)
    return [[center[0] - radii[0] * np.cos(a), center[1] + radii[1] * np.sin(a)] for a in angles]


def face_landmarks(x: float = 64.0, y: float = 60.0, width: float = 60.0, *, mouth_open: float = 0.1) -> np.ndarray:
    """A frontal face as float32 [68, 2]: (x, y) is the middle between the jaw's ends, `width` their distance."""
    brows = [[-0.42, -0.14], [-0.34, -0.2], [-0.25, -0.22], [-0.16, -0.2], [-0.08, -0.15]]
    points = _ellipse((0, 0), (0.5, 0.75), list(np.linspace(0, 180, 17)))
    points += brows + [[-bx, by] for bx, by in reversed(brows)]
    points += [[0, -0.02], [0, 0.07], [0, 0.16], [0, 0.24]]
    points += [[-0.1, 0.29], [-0.05, 0.31], [0, 0.33], [0.05, 0.31], [0.1, 0.29]]
    for side in (-0.22, 0.22):
        points += _ellipse((side, 0), (0.09, 0.04), [0, -60, -120, 180, 120, 60])
    middle = (0.0, 0.48 + mouth_open / 2)
    points += _ellipse(middle, (0.19, 0.07 + mouth_open / 2), [0, -35, -65, -90, -115, -145, 180, 145, 115, 90, 65, 35])
    points += _ellipse(middle, (0.15, 0.01 + mouth_open / 2), [0, -50, -90, -130, 180, 130, 90, 50])
    return (np.array(points) * width + (x, y)).astype(np.float32)


class MiddleFace:
    """A face estimator that sees a face in the middle of every image."""

    name, version = "middle", "1"

    def __call__(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        return face_landmarks(width / 2, 0.4 * height, 0.4 * width)


class SquareFace:
    """A face estimator for which a white square is a face, 16 pixels wide at y = 20."""

    name, version = "square", "1"

    def __call__(self, image: np.ndarray) -> np.ndarray | None:
        columns = np.flatnonzero((image.min(2) > 200).any(0))
        return face_landmarks(float(columns.mean()), 20, 16) if columns.size else None


class BrightIdentity:
    """An identity estimator for which people differ in the brightness of their frame: by 0.01 a level."""

    name, version = "brightness", "1"

    def __init__(self, weights: str):
        assert Path(weights).is_file()

    def __call__(self, image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        assert landmarks.shape == (68, 2)
        return np.full(128, image[0, 0, 0] / 100 / np.sqrt(128), np.float32)


def photo(height: int = 300, width: int = 320, *, dx: int = 0, dy: int = 0) -> np.ndarray:
    """A person, RGB uint8, cut out so that the face lies in the middle, moved by (dx, dy) pixels."""
    source = np.pad(data.astronaut(), ((300, 300), (300, 300), (0, 0)), mode="edge")
    left, top = round(PHOTO_FACE[0]) + 300 - width // 2 - dx, round(PHOTO_FACE[1]) + 300 - height // 2 - dy
    return np.ascontiguousarray(source[top : top + height, left : left + width])


def train_dlib_predictor(path: Path, *, num_points: int = 68) -> Path:
    """A shape predictor that knows the face of `photo` only (a second), written to `path`."""
    import dlib

    detector = dlib.get_frontal_face_detector()

    def detect(image: np.ndarray) -> "dlib.rectangle":
        boxes, scores, _ = detector.run(image, 0, 0.0)
        return boxes[int(np.argmax(scores))]

    box = detect(photo())
    shape = face_landmarks(box.center().x, box.center().y - 0.15 * box.height(), 0.9 * box.width())[:num_points]
    images, objects = [], []
    for dx, dy in np.random.default_rng(0).integers(-12, 13, (24, 2)):
        images.append(photo(dx=int(dx), dy=int(dy)))
        parts = [dlib.point(int(x + dx), int(y + dy)) for x, y in shape]
        objects.append([dlib.full_object_detection(detect(images[-1]), parts)])
    options = dlib.shape_predictor_training_options()
    options.tree_depth, options.cascade_depth, options.num_trees_per_cascade_level = 3, 6, 30
    options.oversampling_amount, options.feature_pool_size, options.num_test_splits = 4, 80, 10
    options.num_threads, options.random_seed = 1, "0"
    dlib.train_shape_predictor(images, objects, options).save(str(path))
    return path
