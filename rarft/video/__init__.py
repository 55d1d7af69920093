"""Video files become frames with their seconds."""

from rarft.system.errors import VideoError
from rarft.video.find import find_video
from rarft.video.guarded import GuardedReader
from rarft.video.reader import Clip, frame_size, frame_uri, read_video

__all__ = ["Clip", "GuardedReader", "VideoError", "find_video", "frame_size", "frame_uri", "read_video"]
