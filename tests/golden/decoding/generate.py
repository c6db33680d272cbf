"""Makes windows.json and recordings.json: what openai/whisper does with scripted logits and results.

    pip install openai-whisper==20250625 torch numpy && python generate.py

No network takes part. `windows.json` runs the reference's DecodingTask on logits that are a pure
function of the tokens sampled so far (class Script; src/decoding/tests.rs computes the same).
`recordings.json` runs its transcribe() on made-up decoding results and keeps what it asked for.
"""

import json
import sys
from types import SimpleNamespace

import numpy as np
import torch
import whisper
from whisper.decoding import DecodingOptions, DecodingResult, DecodingTask
from whisper.tokenizer import get_tokenizer

transcribe_module = sys.modules["whisper.transcribe"]
MASK = (1 << 64) - 1
GAMMA = 0x9E3779B97F4A7C15


def mix(state):
    z = (state + GAMMA) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


class Script:
    """Logits by rule. All arithmetic is exact or single precision in a fixed order."""

    DEFAULTS = dict(
        seed=1, spread=8.0, peak=8.0, eot_base=0.0, eot_slope=0.5, ts_all=0.0,
        ts_peak=6.0, ts_pace=20, quantum=0.0, no_speech=0.0, lifted=[],
    )

    def __init__(self, tokenizer, n_vocab, **given):
        self.__dict__.update({**self.DEFAULTS, **given})
        self.tokenizer, self.n_vocab = tokenizer, n_vocab
        draws = [mix(self.seed + v) >> 40 for v in range(n_vocab)]
        self.base = np.array(draws, dtype=np.float32) / np.float32(1 << 24) * np.float32(self.spread)

    def state(self, sampled):
        h = mix(self.seed ^ 0x5EED)
        for token in sampled:
            h = mix(h ^ token)
        return h

    def logits(self, h, n):
        x = np.roll(self.base, -(h % self.n_vocab)).copy()
        eot, begin = self.tokenizer.eot, self.tokenizer.timestamp_begin
        for i in range(8):
            x[mix((h + 1 + i) & MASK) % eot] += np.float32(self.peak + 0.5 * i)
        x[eot] += np.float32(self.eot_base + self.eot_slope * n)
        x[begin:] += np.float32(self.ts_all)
        for i in range(4):
            late = min(1500, n * self.ts_pace + mix((h + 100 + i) & MASK) % 50)
            x[begin + late] += np.float32(self.ts_peak + 0.5 * i)
        for token in self.lifted:
            x[token] += np.float32(30)
        if self.quantum:
            x = np.floor(x / np.float32(self.quantum)) * np.float32(self.quantum)
        return x

    def at(self, sampled):
        return self.logits(self.state(sampled), len(sampled))

    def at_sot(self):
        x = self.logits(mix(self.seed ^ 0x507), 0)
        x[self.tokenizer.no_speech] += np.float32(self.no_speech)
        return x


class ScriptedInference:
    def __init__(self, script, task):
        self.script, self.task = script, task
        self.first = True

    def logits(self, tokens, _):
        begin = self.task.sample_begin
        last = [torch.from_numpy(self.script.at(row[begin:].tolist())) for row in tokens]
        if not self.first:
            return torch.stack(last)[:, None]
        self.first = False
        out = torch.zeros(len(tokens), begin, self.script.n_vocab)
        out[:, -1] = torch.stack(last)
        out[:, self.task.sot_index] = torch.from_numpy(self.script.at_sot())
        return out

    def rearrange_kv_cache(self, _):
        pass

    def cleanup_caching(self):
        pass


def fake_model(n_vocab, n_text_ctx=448):
    multilingual = n_vocab >= 51865
    return SimpleNamespace(
        is_multilingual=multilingual,
        num_languages=n_vocab - 51765 - int(multilingual),
        dims=SimpleNamespace(n_text_ctx=n_text_ctx, n_audio_ctx=1500, n_audio_state=1, n_mels=1),
        decoder=SimpleNamespace(blocks=[]),
        device=torch.device("cpu"),
    )


def run_window(name, n_vocab, script, options):
    model = fake_model(n_vocab)
    task = DecodingTask(model, DecodingOptions(fp16=False, **{"language": "en", **options}))
    task.inference = ScriptedInference(Script(task.tokenizer, n_vocab, **script), task)
    if hasattr(task.decoder, "inference"):
        task.decoder.inference = task.inference
    result = task.run(torch.zeros(1, 1500, 1))[0]
    return dict(
        name=name, n_vocab=n_vocab, script={**Script.DEFAULTS, **script}, options=options,
        prompt=list(task.initial_tokens), sot_index=task.sot_index, tokens=result.tokens,
        text=result.text, avg_logprob=result.avg_logprob, no_speech_prob=result.no_speech_prob,
        compression_ratio=result.compression_ratio,
    )


def windows():
    multilingual = get_tokenizer(True, num_languages=99, language="en", task="transcribe")
    specials = [multilingual.sot, multilingual.sot_prev, multilingual.sot_lm, multilingual.no_speech]
    long_prompt = [300 + i for i in range(300)]
    greedy = [
        ("plain", {}, {}),
        ("plain_other_seeds", dict(seed=77), {}),
        ("flat", dict(seed=3, peak=2.0, eot_slope=0.2), {}),
        ("timestamps_forced_by_their_sum", dict(seed=4, ts_all=2.0, ts_peak=0.0), {}),
        ("timestamps_run_out", dict(seed=5, ts_pace=120, ts_all=3.0, eot_slope=0.1), {}),
        ("late_timestamps", dict(seed=6, ts_pace=0, ts_peak=14.0), {}),
        ("ties", dict(seed=7, quantum=2.0), {}),
        ("ties_everywhere", dict(seed=8, quantum=4.0, peak=4.0), {}),
        ("without_timestamps", dict(seed=9), dict(without_timestamps=True)),
        ("timestamps_sampled_without_rules", dict(seed=10, ts_peak=12.0), dict(without_timestamps=True)),
        ("blank_suppressed", dict(seed=11, lifted=[220], eot_base=25.0), dict(without_timestamps=True)),
        ("blank_allowed", dict(seed=11, lifted=[220], eot_base=25.0, eot_slope=2.0),
         dict(without_timestamps=True, suppress_blank=False)),
        ("specials_suppressed", dict(seed=12, lifted=specials), {}),
        ("specials_and_some", dict(seed=12, lifted=specials + [500, 600]), dict(suppress_tokens="500,600")),
        ("nothing_suppressed", dict(seed=12, lifted=[50363], eot_slope=0.2), dict(suppress_tokens="", without_timestamps=True, sample_len=12)),
        ("non_speech_and_some", dict(seed=13, lifted=[500]), dict(suppress_tokens="-1,500")),
        ("non_speech_allowed", dict(seed=13, lifted=[7, 12]), dict(suppress_tokens="500", sample_len=20)),
        ("first_timestamp_at_once", dict(seed=14, ts_pace=0), dict(max_initial_timestamp=0.02)),
        ("first_timestamp_zero_is_no_limit", dict(seed=15, ts_all=1.0, ts_peak=0.0), dict(max_initial_timestamp=0.0)),
        ("first_timestamp_none", dict(seed=16, ts_all=1.0, ts_peak=0.0), dict(max_initial_timestamp=None)),
        ("first_timestamp_half_step", dict(seed=17, ts_all=1.0, ts_peak=0.0), dict(max_initial_timestamp=0.05)),
        ("translate", dict(seed=18), dict(language="de", task="translate")),
        ("short_prompt", dict(seed=19), dict(prompt=[11, 12, 13])),
        ("long_prompt", dict(seed=20), dict(prompt=long_prompt)),
        ("prefix", dict(seed=21), dict(prefix=[400, 401, 402])),
        ("prefix_cut", dict(seed=22), dict(prefix=long_prompt, sample_len=200)),
        ("prefix_and_prompt", dict(seed=23), dict(prefix=[9, 8], prompt=[1, 2], without_timestamps=True)),
        ("prefix_head_cut", dict(seed=24, eot_slope=0.1), dict(prefix=long_prompt[:60], sample_len=250)),
        ("sample_len", dict(seed=25), dict(sample_len=7)),
        ("never_ends", dict(seed=26, eot_base=-100.0, eot_slope=0.0), {}),
        ("context_runs_out", dict(seed=27, eot_base=-100.0, eot_slope=0.0), dict(prompt=long_prompt)),
        ("no_speech", dict(seed=28, no_speech=22.0), {}),
    ]
    beams = [
        ("two", dict(seed=40), dict(beam_size=2)),
        ("five", dict(seed=41), dict(beam_size=5)),
        ("five_flat", dict(seed=42, peak=3.0), dict(beam_size=5)),
        ("one", dict(seed=43), dict(beam_size=1)),
        ("patient", dict(seed=44), dict(beam_size=3, patience=2.0)),
        ("impatient", dict(seed=45), dict(beam_size=4, patience=0.5)),
        ("patience_rounds_to_even", dict(seed=46), dict(beam_size=5, patience=0.5)),
        ("patience_a_bit", dict(seed=47), dict(beam_size=5, patience=1.3)),
        ("length_penalty_0", dict(seed=48), dict(beam_size=5, length_penalty=0.0)),
        ("length_penalty_06", dict(seed=49), dict(beam_size=5, length_penalty=0.6, patience=2.0)),
        ("length_penalty_1", dict(seed=50), dict(beam_size=5, length_penalty=1.0)),
        ("without_timestamps", dict(seed=51), dict(beam_size=5, without_timestamps=True)),
        ("early_ends", dict(seed=52, eot_base=6.0, eot_slope=1.0), dict(beam_size=5)),
        ("early_ends_patient", dict(seed=53, eot_base=6.0, eot_slope=0.3), dict(beam_size=5, patience=2.0)),
        ("unfinished", dict(seed=54, eot_base=-100.0, eot_slope=0.0), dict(beam_size=5, sample_len=20)),
        ("half_finished", dict(seed=55, eot_base=0.0, eot_slope=0.5), dict(beam_size=5, sample_len=12)),
        ("few_candidates", dict(seed=56), dict(beam_size=5, max_initial_timestamp=0.02)),
        ("timestamps_forced", dict(seed=57, ts_all=2.0, ts_peak=0.0), dict(beam_size=4)),
        ("timestamps_run_out", dict(seed=58, ts_pace=120, ts_all=3.0, eot_slope=0.1), dict(beam_size=3)),
        ("prompt_and_prefix", dict(seed=59), dict(beam_size=5, prompt=long_prompt, prefix=[5, 6])),
        ("other_seed", dict(seed=60, eot_slope=0.3), dict(beam_size=5)),
        ("wide", dict(seed=61), dict(beam_size=12)),
    ]
    cases = [run_window("greedy_" + n, 51865, s, o) for n, s, o in greedy]
    cases += [run_window("beam_" + n, 51865, s, o) for n, s, o in beams]
    cases += [
        run_window("english_only", 51864, dict(seed=70), {}),
        run_window("english_only_beam", 51864, dict(seed=71), dict(beam_size=5, prompt=[20, 21])),
        run_window("v3", 51866, dict(seed=72), dict(language="yue")),
    ]
    return cases


class Reference:
    """Stands in for the model in transcribe(): every decode() answers with made-up tokens."""

    def __init__(self, rng, styles, fail_rate, silence_rate):
        self.__dict__.update(vars(fake_model(51865)))
        self.rng, self.styles = rng, styles
        self.fail_rate, self.silence_rate = fail_rate, silence_rate
        self.calls = []

    def decode(self, segment, options):
        frames = segment[0].nonzero().flatten()
        seek, size = int(segment[0, 0]) - 1, len(frames)
        last = self.calls[-1] if self.calls else None
        if last is None or last["seek"] != seek or last["attempts"][-1]["temperature"] >= options.temperature:
            self.calls.append(dict(seek=seek, size=size, prompt=list(options.prompt), attempts=[]))
        rng = self.rng
        failed, silent = rng.rand() < self.fail_rate, rng.rand() < self.silence_rate
        attempt = dict(
            temperature=options.temperature, beam_size=options.beam_size, best_of=options.best_of,
            patience=options.patience, tokens=self.tokens(size),
            avg_logprob=-float(1.1 + rng.rand()) if failed else -float(rng.rand()),
            no_speech_prob=float(0.61 + 0.3 * rng.rand()) if silent else float(0.5 * rng.rand()),
            compression_ratio=3.0 if rng.rand() < self.fail_rate / 2 else 1.5,
        )
        self.calls[-1]["attempts"].append(attempt)
        kept = ("tokens", "avg_logprob", "no_speech_prob", "compression_ratio", "temperature")
        return DecodingResult(None, "en", **{k: attempt[k] for k in kept})

    def tokens(self, size):
        rng, begin = self.rng, 50364
        style = self.styles[rng.randint(len(self.styles))]
        words = lambda: [int(t) for t in rng.randint(300, 20000, rng.randint(1, 6))]
        end = max(4, min(1500, size // 2 + rng.randint(-20, 40)))
        stops = sorted(int(t) for t in rng.choice(np.arange(1, end), min(3, end - 1), replace=False))
        pairs = [begin] + words()
        for stop in stops:
            pairs += [begin + stop, begin + stop] + words()
        return {
            "open": pairs,
            "closed": pairs + [begin + end],
            "single": [begin] + words() + [begin + end],
            "start_only": [begin] + words(),
            "text": words(),
            "empty": [],
            "lone": [begin + 5],
            "blank": [begin, 220, begin + stops[0], begin + stops[0]] + words() + [begin + end],
            "instant": [begin, 1000, begin + stops[0], begin + stops[0], 1001, begin + stops[0], begin + stops[0]],
            "triple": [begin] + words() + [begin + stops[0]] * 3 + words() + [begin + end],
            "pair_end": pairs[:-len(words())] + [7, begin + end, begin + end],
        }[style]


ALL_STYLES = ["open", "closed", "single", "start_only", "text", "empty", "lone", "blank", "instant", "triple", "pair_end"]


def run_recording(name, frames, options, styles=("open", "closed", "single"), fail=0.0, silence=0.0, seed=0):
    model = Reference(np.random.RandomState(seed), list(styles), fail, silence)
    mel = torch.zeros(1, frames + 3000)
    mel[0, :frames] = torch.arange(1, frames + 1)
    transcribe_module.log_mel_spectrogram = lambda *_, **__: mel
    result = whisper.transcribe(model, None, fp16=False, language="en", **options)
    windows = [{k: c[k] for k in ("seek", "size", "prompt", "attempts")} for c in model.calls]
    return dict(name=name, frames=frames, options=options, windows=windows,
                segments=result["segments"], text=result["text"])


def recordings():
    words = "The quick brown fox jumps over the lazy dog. "
    return [
        run_recording("short", 1100, {}),
        run_recording("three_windows", 8000, {}, seed=1),
        run_recording("every_style", 30000, {}, ALL_STYLES, seed=2),
        run_recording("every_style_again", 30000, {}, ALL_STYLES, seed=3),
        run_recording("unconditioned", 12000, dict(condition_on_previous_text=False), seed=4),
        run_recording("falls_back", 15000, dict(beam_size=5, best_of=4, patience=1.5), fail=0.6, seed=5),
        run_recording("always_fails", 7000, dict(beam_size=5, best_of=5), fail=1.0, seed=6),
        run_recording("silences", 20000, {}, ALL_STYLES, fail=0.3, silence=0.5, seed=7),
        run_recording("silences_without_logprob", 12000, dict(logprob_threshold=None), silence=0.5, seed=8),
        run_recording("no_silence_gate", 12000, dict(no_speech_threshold=None), fail=0.5, silence=0.5, seed=9),
        run_recording("no_ratio_gate", 12000, dict(compression_ratio_threshold=None), fail=0.5, seed=10),
        run_recording("one_temperature", 9000, dict(temperature=0.0), fail=0.7, seed=11),
        run_recording("starts_warm", 9000, dict(temperature=(0.4, 0.8), best_of=3, beam_size=2), fail=0.7, seed=12),
        run_recording("initial_prompt", 9000, dict(initial_prompt="  Glossary: undertone, Whisper. "), seed=13),
        run_recording("initial_prompt_empty", 4000, dict(initial_prompt=""), seed=14),
        run_recording("carried_prompt", 15000, dict(initial_prompt="Names: Ada, Grace.", carry_initial_prompt=True), fail=0.4, seed=15),
        run_recording("carried_without_prompt", 9000, dict(carry_initial_prompt=True), seed=16),
        run_recording("carried_long", 60000, dict(initial_prompt=words * 21, carry_initial_prompt=True), seed=17),
        run_recording("carried_too_long", 20000, dict(initial_prompt=words * 25, carry_initial_prompt=True), seed=18),
        run_recording("long_history", 60000, {}, seed=19),
        run_recording("clips", 20000, dict(clip_timestamps="3.5,12.25,40,95.007,150"), ALL_STYLES, seed=20),
        run_recording("clips_out_of_order", 9000, dict(clip_timestamps=[60.0, 70.0, 5.0, 15.0, 15.0, 15.0]), seed=21),
        run_recording("clip_past_the_end", 3000, dict(clip_timestamps=[31.0]), seed=22),
        run_recording("nothing", 0, {}),
        run_recording("one_frame", 1, {}, ["single", "text"], seed=23),
        run_recording("a_bit_over_a_window", 3001, {}, ["single", "closed"], seed=24),
    ]


def save(path, cases):
    with open(path, "w", encoding="utf-8") as file:
        file.write("[\n" + ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases) + "\n]\n")


if __name__ == "__main__":
    save("windows.json", windows())
    save("recordings.json", recordings())
