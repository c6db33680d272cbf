"""The wheel against the program: the same engine, the same text."""

from undertone import WhisperModel


def written(model, path, **options):
    segments, _ = model.transcribe(path, **options)
    return "".join(f"{segment.text.strip()}\n" for segment in segments)


def test_forty_files(model, recordings, transcribed):
    files = recordings[:40]
    theirs = transcribed(files, "--beam_size", "None", "--best_of", "5")
    assert {file: written(model, file, beam_size=1) for file in files} == theirs


def test_with_beams_and_words(model, examples, transcribed):
    theirs = transcribed(examples, "--beam_size", "5", "--best_of", "5", "--word_timestamps", "True")
    ours = {file: written(model, file, word_timestamps=True) for file in examples}
    assert ours == theirs


def test_one_thread_gives_the_same(fox, model):
    assert written(WhisperModel("base", compute_type="int8", cpu_threads=1), fox) == written(model, fox)
