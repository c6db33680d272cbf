//! Phrases that Whisper invents where nobody speaks: what ends videos and subtitles on the web.

use crate::decoding::strip;

/// Whole texts, in small letters and without punctuation.
const WHOLE: &[&str] = &[
    // English
    "thank you",
    "thank you so much",
    "thank you very much",
    "thank you for watching",
    "thank you so much for watching",
    "thank you for listening",
    "thanks for watching",
    "thanks for listening",
    "thanks for watching and dont forget to like and subscribe",
    "please subscribe",
    "please subscribe to my channel",
    "subscribe to my channel",
    "like and subscribe",
    "see you next time",
    "see you in the next video",
    "ill see you in the next video",
    "bye",
    "bye bye",
    "you",
    "the end",
    "to be continued",
    "music",
    "applause",
    "silence",
    "foreign",
    // German
    "vielen dank",
    "danke",
    "vielen dank fürs zuschauen",
    "danke fürs zuschauen",
    "vielen dank für ihre aufmerksamkeit",
    "vielen dank für die aufmerksamkeit",
    "bis zum nächsten mal",
    "tschüss",
    // French
    "merci",
    "merci davoir regardé cette vidéo",
    "merci davoir regardé",
    "merci à tous",
    "abonnezvous",
    "à bientôt",
    // Spanish
    "gracias",
    "gracias por ver",
    "gracias por ver el video",
    "gracias por ver el vídeo",
    "muchas gracias",
    "suscríbete",
    "suscríbete al canal",
    "hasta la próxima",
    // Portuguese
    "obrigado",
    "obrigado por assistir",
    "inscrevase no canal",
    "até a próxima",
    // Italian
    "grazie",
    "grazie a tutti",
    "grazie per la visione",
    // Dutch
    "bedankt voor het kijken",
    "tot de volgende keer",
    // Polish
    "dziękuję za uwagę",
    "dziękuję za oglądanie",
    // Russian
    "спасибо за просмотр",
    "продолжение следует",
    "подписывайтесь на канал",
    // Turkish
    "izlediğiniz için teşekkür ederim",
    "abone olmayı unutmayın",
    // Japanese
    "ご視聴ありがとうございました",
    "ご清聴ありがとうございました",
    "おやすみなさい",
    "チャンネル登録をお願いいたします",
    // Chinese
    "谢谢观看",
    "谢谢大家",
    "謝謝觀看",
    "请不吝点赞订阅转发打赏支持明镜与点点栏目",
    // Korean
    "시청해주셔서 감사합니다",
    "시청해 주셔서 감사합니다",
    "구독과 좋아요 부탁드립니다",
    // Arabic
    "شكرا على المشاهدة",
    "اشتركوا في القناة",
];

/// What texts begin with that name who made subtitles.
const BEGINNINGS: &[&str] = &[
    "subtitles by",
    "subtitled by",
    "subtitles created by",
    "captions by",
    "captioned by",
    "transcribed by",
    "transcript by",
    "translated by",
    "copyright",
    "untertitel der amaraorg",
    "untertitel im auftrag des",
    "untertitel von",
    "untertitelung",
    "soustitres réalisés",
    "soustitres par",
    "soustitrage",
    "subtítulos realizados por",
    "subtítulos por",
    "subtítulos creados por",
    "legendas pela comunidade",
    "legendas por",
    "sottotitoli creati dalla",
    "sottotitoli e revisione",
    "sottotitoli di",
    "ondertiteld door",
    "ondertiteling door",
    "napisy stworzone przez",
    "napisy przygotowane przez",
    "субтитры сделал",
    "субтитры создавал",
    "субтитры подготовил",
    "редактор субтитров",
    "altyazı mk",
    "字幕by",
    "字幕由",
    "字幕志愿者",
    "中文字幕志愿者",
    "한글자막",
    "자막 제공",
    "ترجمة نانسي",
];

/// Whether a text is one of the known phrases, as it is or several times over.
#[must_use]
pub(super) fn is_phantom(text: &str) -> bool {
    let known = |text: &str| {
        let text = plain(text);
        text.is_empty()
            || WHOLE.contains(&text.as_str())
            || BEGINNINGS.iter().any(|start| text.starts_with(start))
    };
    let text = strip(text);
    known(text)
        || text
            .split_inclusive(['.', '!', '?', '。', '！', '？'])
            .all(known)
}

/// Small letters, digits and single spaces alone.
fn plain(text: &str) -> String {
    let letters: String = text
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || c.is_whitespace())
        .collect();
    letters.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_are_known_in_any_dress() {
        let known = [
            " Thanks for watching!",
            " Thank you. Thank you.",
            "[Music]",
            " Untertitel der Amara.org-Community",
            " Subtitles by the Amara.org community",
            " Sous-titres réalisés par la communauté d'Amara.org",
            "ご視聴ありがとうございました。",
            " Don't... you.",
        ];
        for (n, text) in known.into_iter().enumerate() {
            assert_eq!(is_phantom(text), n < 7, "{text}");
        }
        for said in [
            " Thank you for the flowers.",
            " He asked you.",
            " And so, my fellow Americans",
            " Subtitles are useful.",
        ] {
            assert!(!is_phantom(said), "{said}");
        }
    }

    #[test]
    fn phrases_are_written_as_they_are_compared() {
        for phrase in WHOLE.iter().chain(BEGINNINGS) {
            assert_eq!(plain(phrase), *phrase);
        }
    }
}
