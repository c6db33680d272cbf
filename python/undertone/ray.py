"""Thousands of recordings on a cluster, with Ray Data.

A dataset of paths becomes a dataset of texts, or a folder of Parquet files that a killed run goes on
with::

    import ray, undertone.ray as ur
    ds = ray.data.from_items([{"path": "s3://bucket/a.mp3"}, {"path": "/data/b.flac"}])
    rows = ur.transcribe(ds, model="base", compute_type="int8", actors=4)

    python -m undertone.ray --input s3://bucket/calls --output s3://bucket/texts --model base

Each actor holds one engine and feeds it several recordings at a time, whose windows share the decoder's
steps; Ray does a lost actor's batch again. A recording that cannot be read is a row with its error.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import posixpath
import sys
import uuid
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.fs import FileSystem
    from ray.data import Dataset

logger = logging.getLogger("undertone")

EXTENSIONS = frozenset(
    "aac ac3 aif aifc aiff alac caf flac m4a m4b mka mkv mov mp2 mp3 mp4 mpga oga ogg opus wav wave weba webm".split()
)
"""Endings by which a folder's recordings are found. A path that is given itself may have any."""


def schema() -> pa.Schema:
    """One row a recording: where it fails, ``error`` is set and the rest is null."""
    import pyarrow as pa

    segment = pa.struct(
        [("start", pa.float64()), ("end", pa.float64()), ("text", pa.string())]
    )
    word = pa.struct(
        [
            ("start", pa.float64()),
            ("end", pa.float64()),
            ("word", pa.string()),
            ("probability", pa.float64()),
        ]
    )
    return pa.schema(
        [
            ("path", pa.string()),
            ("language", pa.string()),
            ("duration", pa.float64()),
            ("text", pa.string()),
            ("segments", pa.list_(segment)),
            ("words", pa.list_(word)),
            ("error", pa.string()),
        ]
    )


def _located(path: str) -> tuple[FileSystem, str]:
    """The file system of a path or a URI (``s3://``, ``gs://``, ``hdfs://``), and the path in it."""
    from pyarrow import fs

    if "://" in path:
        files, inside = fs.FileSystem.from_uri(path)
        return files, str(inside)
    return fs.LocalFileSystem(), os.path.abspath(path)


class Transcriber:
    """What an actor does: an engine, and a pool of threads that keeps its batcher fed."""

    def __init__(
        self,
        model: str,
        output: str | None,
        side_by_side: int,
        model_options: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> None:
        from . import WhisperModel

        self.model = WhisperModel(model, **model_options)
        self.options = dict(options)
        self.output = output
        self.pool = ThreadPoolExecutor(side_by_side)

    def __call__(self, batch: pa.Table) -> pa.Table:
        import pyarrow as pa

        paths = batch.column("path").to_pylist()
        rows = list(self.pool.map(self.row, paths))
        table = pa.Table.from_pylist(rows, schema=schema())
        if self.output is None:
            return table
        write_part(table, self.output)
        return table.select(["path", "error"])

    def row(self, path: str) -> dict[str, Any]:
        """The row of a recording, whatever becomes of it."""
        row: dict[str, Any] = {"path": path}
        try:
            segments, info = self.model.transcribe(_opened(path), **self.options)
            found = list(segments)
        except (TypeError, MemoryError):
            # An option that is not carried is wrong for every recording.
            raise
        except Exception as error:
            row["error"] = f"{type(error).__name__}: {error}"
            return row
        row.update(language=info.language, duration=info.duration)
        row["text"] = "".join(segment.text for segment in found)
        row["segments"] = [{"start": s.start, "end": s.end, "text": s.text} for s in found]
        words = [word for segment in found for word in segment.words or ()]
        row["words"] = [vars(word) for word in words] if self.options.get("word_timestamps") else None
        return row


def _opened(path: str) -> str | bytes:
    if "://" not in path:
        return path
    files, name = _located(path)
    with files.open_input_stream(name) as stream:
        return bytes(stream.read())


def write_part(table: pa.Table, output: str) -> None:
    """Writes rows under a name that their paths give: who does the same work again replaces the file,
    and nobody sees half of one."""
    import pyarrow.parquet as pq
    from pyarrow import fs

    files, folder = _located(output)
    files.create_dir(folder)
    digest = hashlib.sha256("\0".join(sorted(table.column("path").to_pylist())).encode())
    name = posixpath.join(folder, f"part-{digest.hexdigest()[:32]}.parquet")
    if not isinstance(files, fs.LocalFileSystem):
        # An object appears when it is whole.
        pq.write_table(table, name, filesystem=files)
        return
    temporary = posixpath.join(folder, f".{uuid.uuid4().hex}.tmp")
    pq.write_table(table, temporary, filesystem=files)
    files.move(temporary, name)


def finished(output: str) -> set[str]:
    """The paths that have a row in a folder of results."""
    import pyarrow.parquet as pq
    from pyarrow import fs

    files, folder = _located(output)
    selector = fs.FileSelector(folder, allow_not_found=True)
    done: set[str] = set()
    for info in files.get_file_info(selector):
        name = posixpath.basename(info.path)
        if name.startswith("part-") and name.endswith(".parquet"):
            table = pq.read_table(info.path, filesystem=files, columns=["path"])
            done.update(table.column("path").to_pylist())
    return done


def recordings(inputs: Iterable[str]) -> list[dict[str, Any]]:
    """Recordings below folders, by their endings, and files as they are given: path and bytes, largest
    first, so that the last to end is a small one."""
    from pyarrow import fs

    found: dict[str, int] = {}
    for given in inputs:
        files, path = _located(given)
        prefix = given.split("://")[0] + "://" if "://" in given else ""
        info = files.get_file_info(path)
        if info.type == fs.FileType.Directory:
            selector = fs.FileSelector(path, recursive=True)
            entries = [
                entry
                for entry in files.get_file_info(selector)
                if entry.is_file and entry.extension.lower() in EXTENSIONS
            ]
        else:
            entries = [info]
        for entry in entries:
            found[prefix + entry.path] = entry.size or 0
    rows = [{"path": path, "bytes": size} for path, size in found.items()]
    return sorted(rows, key=lambda row: (-row["bytes"], row["path"]))


def transcribe(
    ds: Dataset,
    *,
    model: str,
    actors: int | tuple[int, int] = 1,
    cpus: float = 1,
    gpus: float = 0,
    compute_type: str | None = None,
    side_by_side: int = 8,
    output: str | None = None,
    model_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> Dataset:
    """Transcribes a dataset that has a column ``path``.

    Args:
      ds: Paths or URIs (``s3://``) of recordings. Large ones first is best: what ends last is then small.
      model: A name, a folder or a file; every node must be able to get it.
      actors: Engines, or the least and the most of them.
      cpus: Cores of each engine; its threads, too.
      gpus: Graphics cards of each engine, or its share of one; it computes there.
      compute_type: As :class:`undertone.WhisperModel` has it; by default ``int8``, on a GPU ``float16``.
      side_by_side: Recordings that an engine works on at a time, and in a batch of rows.
      output: A folder or URI. Rows are written there as Parquet, a file for each batch, and the dataset
        has only their paths and errors. By default the dataset has whole rows, and nothing is written.
      model_options: More arguments of :class:`undertone.WhisperModel`.
      options: Arguments of :meth:`undertone.WhisperModel.transcribe`.

    Returns:
      A row for each recording: :func:`schema`. One that cannot be transcribed has its ``error``.
    """
    settings = {
        "compute_type": compute_type or ("float16" if gpus else "int8"),
        "cpu_threads": max(1, int(cpus)),
        "device": "cuda" if gpus else "cpu",
        **(model_options or {}),
    }
    import ray.data

    low, high = (actors, actors) if isinstance(actors, int) else actors
    return ds.map_batches(
        Transcriber,
        fn_constructor_args=(model, output, side_by_side, settings, options),
        batch_size=side_by_side,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=low, max_size=high),
        num_cpus=cpus,
        num_gpus=gpus or None,
    )


def run(inputs: Iterable[str], output: str, *, side_by_side: int = 8, **arguments: Any) -> dict[str, int]:
    """Transcribes what has no row in ``output`` yet; the numbers of rows written, failed and found done.

    Whatever was killed before, each recording has exactly one row afterwards.
    """
    import ray.data

    found = recordings(inputs)
    done = finished(output)
    left = [row for row in found if row["path"] not in done]
    counts = {"written": 0, "failed": 0, "already done": len(found) - len(left)}
    if not left:
        return counts
    # A block is what an actor gets at once.
    blocks = -(-len(left) // side_by_side)
    ds = ray.data.from_items(left, override_num_blocks=blocks)
    rows = transcribe(ds, output=output, side_by_side=side_by_side, **arguments)
    for row in rows.iter_rows():
        counts["written"] += 1
        if row["error"] is not None:
            counts["failed"] += 1
            logger.warning("%s", row["error"])
    return counts


def _option(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m undertone.ray",
        description="Transcribes folders of recordings on a Ray cluster, into Parquet. Run it again after "
        "it was killed: what has a row is not done again.",
    )
    add = parser.add_argument
    add("--input", nargs="+", required=True, metavar="PATH", help="files, folders, or URIs (s3://)")
    add("--output", required=True, metavar="FOLDER", help="where rows are written; a URI is fine")
    add("--model", required=True, help="a name, a folder or a file")
    add("--actors", type=int, default=1, help="engines (default: 1)")
    add("--cpus", type=float, default=1, help="cores of each engine (default: 1)")
    add("--gpus", type=float, default=0, help="graphics cards of each engine, or its share (default: 0)")
    add("--compute_type", help="int8, float32 or float16 (default: int8, on a GPU float16)")
    add("--side_by_side", type=int, default=8, help="recordings at a time in an engine (default: 8)")
    add("--address", help="the cluster; by default the running one, or one of this machine's own")
    add(
        "--option",
        action="append",
        default=[],
        type=_option,
        metavar="NAME=VALUE",
        help="an argument of WhisperModel.transcribe, such as beam_size=1 or language=de",
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """The command. 1 where recordings failed, whose rows say why."""
    import ray

    given = _arguments().parse_args(arguments)
    ray.init(address=given.address, ignore_reinit_error=True)
    counts = run(
        given.input,
        given.output,
        model=given.model,
        actors=given.actors,
        cpus=given.cpus,
        gpus=given.gpus,
        compute_type=given.compute_type,
        side_by_side=given.side_by_side,
        **dict(given.option),
    )
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
