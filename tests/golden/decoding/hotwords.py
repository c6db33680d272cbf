"""Makes hotwords.json: the tokens that faster-whisper feeds before a window.

    pip install faster-whisper==1.2.1 && python hotwords.py TOKENIZER_JSON

`TOKENIZER_JSON` is the multilingual vocabulary's `tokenizer.json` (51,865 tokens). No network takes part:
`WhisperModel.get_prompt` is called with a context of 448.
"""

import json
import sys
from types import SimpleNamespace

import tokenizers
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import WhisperModel

NAMES = ", ".join(f"Zacinto {i}" for i in range(60))
CASES = [
    # hotwords, earlier tokens, prefix, language, task, timestamps
    ("Foscolo, Zacinto", 0, None, "en", "transcribe", True),
    ("  Foscolo, Zacinto\n", 0, None, "en", "transcribe", False),
    ("Foscolo", 10, None, "de", "translate", True),
    ("Foscolo, Zacinto", 300, None, "de", "transcribe", True),
    (NAMES, 0, None, "en", "transcribe", True),
    ("", 10, None, "en", "transcribe", True),
    ("", 0, None, "en", "transcribe", True),
    (" ", 0, None, "en", "transcribe", True),
    ("Foscolo", 10, "Ugo", "en", "transcribe", True),
    ("东京, São Paulo, naïve", 223, None, "ja", "transcribe", True),
]


def case(tokenizer, hotwords, earlier, prefix, language, task, timestamps):
    tokenizer = Tokenizer(tokenizer, True, task=task, language=language)
    earlier = [1000 + i for i in range(earlier)]
    model = SimpleNamespace(max_length=448)
    prompt = WhisperModel.get_prompt(model, tokenizer, earlier, not timestamps, prefix, hotwords)
    # Behind the start sequence faster-whisper puts a prefix after <|0.00|>, openai/whisper at once.
    end = prompt.index(tokenizer.sot) + 3 + (not timestamps)
    return {
        "hotwords": hotwords,
        "earlier": earlier,
        "prefix": prefix,
        "language": language,
        "task": task,
        "timestamps": timestamps,
        "prompt": prompt[:end],
    }


def main():
    tokenizer = tokenizers.Tokenizer.from_file(sys.argv[1])
    cases = [json.dumps(case(tokenizer, *given), ensure_ascii=False) for given in CASES]
    with open("hotwords.json", "w", encoding="utf-8") as file:
        file.write("[\n" + ",\n".join(cases) + "\n]\n")


if __name__ == "__main__":
    main()
