"""Pictures are as a player shows them: the nearest of four quarter turns, mirrored or not."""

from itertools import product

import numpy as np
import pytest

from rarft.video import read_video


@pytest.fixture
def marked(tmp_path):
    """A film with two white patches, of which no turn and no mirroring makes the same picture."""
    import av

    picture = np.full((64, 96, 3), 40, np.uint8)
    picture[:16, :48] = picture[:32, :16] = 255
    with av.open(str(tmp_path / "film.mp4"), "w") as output:
        stream = output.add_stream("libx264", rate=10, options={"crf": "1", "x264-params": "log-level=none"})
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        for _ in range(4):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode())
    return tmp_path / "film.mp4", picture


@pytest.mark.parametrize("mirrored, turns", product((False, True), range(4)))
@pytest.mark.parametrize("noise", (0, 0.01, -0.01, 5, -5, 40))
def test_the_nearest_of_eight_orientations(marked, matrix_put, mirrored, turns, noise):
    path, picture = marked
    angle = np.radians(90 * turns + noise)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    matrix_put(path, (matrix * [[1], [-1]] if mirrored else matrix).ravel())
    shown = np.rot90(np.flipud(picture) if mirrored else picture, -turns)
    clip = read_video(path)
    assert clip.frames.shape[1:] == shown.shape
    np.testing.assert_allclose(clip.frames[0].astype(int), shown, atol=40)
    small = read_video(path, factor=16, max_pixels=4096).frames
    assert (small.shape[1] > small.shape[2]) == (turns % 2 == 1)


@pytest.mark.parametrize(
    "matrix, at",
    [
        ((0.9962, 0.0872, -0.0872, 0.9962), "as it is"),
        ((0.0002, -1, 1, 0.0002), "to the left"),
        ((-1, 0, 0, 1), "left and right"),
        ((1, 0, 0, -1), "top and bottom"),
        ((0, 0, 0, 0), "as it is"),
        ((2, 0, 0, 0.5), "as it is"),
    ],
)
def test_matrices_of_files(marked, matrix_put, matrix, at):
    path, picture = marked
    wanted = {"as it is": picture, "to the left": np.rot90(picture)}
    wanted |= {"left and right": np.fliplr(picture), "top and bottom": np.flipud(picture)}
    clip = read_video(matrix_put(path, matrix))
    np.testing.assert_allclose(clip.frames[0].astype(int), wanted[at], atol=40)
